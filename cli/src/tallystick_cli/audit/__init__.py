"""The auditor's commands: they need the transparency-log library and no server."""
