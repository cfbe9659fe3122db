"""Tenants: the customers of the platform, each a silo."""
