"""How the auditor's commands end where there is no answer: never with 1, for that means damaged."""

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from tallystick_cli.audit.console import EXIT_BROKEN, EXIT_NOT_DONE, fail, printable


class AuditGroup(TyperGroup):
    """Sees each command's answer out.

    Ends with "not done" where standard output is on a full disk, or whoever read it has left, and with a status of its
    own where the program itself breaks down.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (its context's class is private to typer)
        """Run the command and see its answer out."""
        if hasattr(sys.stdout, "reconfigure"):
            # A terminal without a letter of the log's shows its number; that is no reason to give no answer.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.filename is not None:
                fail(f"cannot use {error.filename}: {error.strerror or error}")
            # What is still in the buffer would fail once more, with a message of the interpreter's and its exit status.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno == errno.EPIPE:
                sys.exit(EXIT_NOT_DONE)
            fail(f"cannot write the answer: {error.strerror or error}")
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
                raise  # how commands end, and how typer says that they were called wrongly
            _break_down(error)


def _break_down(error: Exception) -> NoReturn:
    """Say in a sentence that it is the program's fault, and where; its message may quote the log, so it is left out."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else ""
    sys.stderr.write(
        f"error: tally itself broke down with {printable(type(error).__name__)}{where}; "
        "that is a fault of the program and says nothing about the log\n"
    )
    sys.exit(EXIT_BROKEN)
