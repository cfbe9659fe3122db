"""Assignments: which person may take which version."""
