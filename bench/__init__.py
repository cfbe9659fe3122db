"""Measurements, each beside its reference in one run: `python -m bench [--only NAME]`."""
