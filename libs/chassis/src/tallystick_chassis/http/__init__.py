"""The HTTP edge: authentication, capabilities, problem details, idempotent commands."""
