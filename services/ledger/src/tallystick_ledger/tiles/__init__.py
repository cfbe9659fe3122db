"""Logs in the standard format, c2sp.org/tlog-tiles: for auditors, and as far as a tenant wants it, for anybody."""
