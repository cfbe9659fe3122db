"""The operator's commands: the embedded stack its first tenant, its dead letters."""
