"""Erasure: what assessment destroys when a person is to be forgotten, and its receipt."""
