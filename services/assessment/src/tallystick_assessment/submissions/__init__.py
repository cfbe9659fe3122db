"""Submissions: what was handed in, with the version snapshot frozen beside it."""
