"""Streaming a tenant's logs to its SIEM: each entry at least once, in OCSF, with the checkpoint that signs it."""
