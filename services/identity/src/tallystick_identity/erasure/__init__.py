"""Erasure: what identity destroys when it is ordered."""
