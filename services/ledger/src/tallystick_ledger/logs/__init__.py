"""Logs as such: what kinds there are, how they are named, when they close."""
