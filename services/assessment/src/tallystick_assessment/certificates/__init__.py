"""Certificates: issued to those who pass, published apart from them, revoked."""
