"""Attempts: one candidate, one paper, one clock."""
