"""What keeps an audit from being done at all."""


class AuditError(Exception):
    """The source cannot be read, or the command was given something it cannot use; one line, exit status 2."""
