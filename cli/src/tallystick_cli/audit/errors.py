"""What keeps an audit from being done at all, and what it found where no report can say so."""


class AuditError(Exception):
    """The source cannot be read, or the command was given something it cannot use; one line, exit status 2."""


class NotThereError(AuditError):
    """A server answered that there is no such thing."""


class UnreachableError(AuditError):
    """A server did not answer, or not now; trying again may help."""


class NotProvedError(Exception):
    """What was to be shown does not hold; one line, exit status 1."""
