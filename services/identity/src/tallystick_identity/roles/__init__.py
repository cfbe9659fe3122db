"""Roles and grants: who may do what, and where."""
