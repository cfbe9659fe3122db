"""Org units: the tree inside a tenant."""
