"""How the auditor's commands answer, and end where the answer cannot be written: with 2, for 1 means damaged."""

import errno
import os
import sys
from typing import Any

from typer.core import TyperGroup

from tallystick_cli.audit.console import EXIT_NOT_DONE, fail


class AuditGroup(TyperGroup):
    """Ends with "not done" where standard output is on a full disk, or whoever read it has left."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's context has no public name; the answer is not used)
        """Run the command and see its answer out."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except OSError as error:
            # What is still in the buffer would fail once more, with a message of the interpreter's and its exit status.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno == errno.EPIPE:
                sys.exit(EXIT_NOT_DONE)
            fail(f"cannot write the answer: {error.strerror or error}")
