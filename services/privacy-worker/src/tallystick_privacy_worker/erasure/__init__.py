"""Erasure of a person: the job, its receipts, its end."""
