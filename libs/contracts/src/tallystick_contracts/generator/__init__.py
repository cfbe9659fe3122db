"""The generator of event types: a development tool, never imported at run time."""
