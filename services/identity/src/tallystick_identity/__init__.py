"""Tenants, org units, people, roles, grants, sign-in and sessions."""
