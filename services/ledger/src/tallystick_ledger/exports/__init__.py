"""Exports: a log at a fixed size, recorded, then downloaded as three files."""
