"""Containment: what an operator ends at once when something is wrong."""
