"""Passwords, where a tenant wants them."""
