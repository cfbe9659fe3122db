"""Evaluations: documents of items, versioned and immutable, released to org units as papers without keys."""
