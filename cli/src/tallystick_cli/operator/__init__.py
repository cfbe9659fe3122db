"""The operator's commands: the embedded stack and its first tenant."""
