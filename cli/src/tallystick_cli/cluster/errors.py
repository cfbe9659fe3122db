"""What can go wrong while an installation is prepared."""


class ClusterError(Exception):
    """The step cannot be done; the message is one line for the operator."""
