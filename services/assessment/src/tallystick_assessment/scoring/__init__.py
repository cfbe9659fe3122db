"""Scoring: points in thousandths, as append-only score versions."""
