"""What the auditor's commands share: options, exit statuses, one-line errors, JSON and words."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from tallystick_cli.audit.errors import AuditError, NotProvedError
from tallystick_cli.audit.sources import LogSource, open_sources

EXIT_DAMAGED: Final = 1
EXIT_NOT_DONE: Final = 2
EXIT_BROKEN: Final = 70
"""A fault of the program's own (EX_SOFTWARE of sysexits.h), so that nobody takes it for a finding."""

_KEY_HELP: Final = "The ledger's key as you pinned it: name+hash+key, or a file with one such key a line."

KeyOption = Annotated[str | None, typer.Option("--key", metavar="VKEY|FILE", help=_KEY_HELP)]
PinnedKeyOption = Annotated[str, typer.Option("--key", metavar="VKEY|FILE", help=_KEY_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")]
CaOption = Annotated[Path | None, typer.Option("--ca", help="Certificate authorities to trust for an https address.")]
HeaderOption = Annotated[
    list[str] | None, typer.Option("--header", help="A header to send, such as 'Cookie: …'; repeatable.")
]
LogArgument = Annotated[str, typer.Argument(metavar="EXPORT", help="An export folder, or an http(s) address of one.")]
LogsArgument = Annotated[
    list[str], typer.Argument(metavar="EXPORT…", help="Export folders, or folders of such folders.")
]


MAX_SECONDS: Final = 31_536_000.0
"""A year: the most that an option in seconds takes."""


class Words(Console):
    """Standard output, for words: long lines stay whole, and numbers in a log's text are not coloured."""

    def __init__(self) -> None:
        """Open it."""
        super().__init__(highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Leave it to `AuditGroup` to end: rich would with 1, which means damaged."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the audit's errors into one line and an exit status."""
    try:
        yield
    except AuditError as error:
        fail(str(error))
    except NotProvedError as error:
        sys.stdout.write(f"not proved: {printable(str(error))}\n")
        raise typer.Exit(EXIT_DAMAGED) from None


def fail(message: str) -> NoReturn:
    """Say in one line why the audit was not done, and end with status 2."""
    sys.stderr.write(f"error: {printable(message)}\n")
    raise typer.Exit(EXIT_NOT_DONE)


def warn(message: str) -> None:
    """Say something on stderr that does not change the outcome."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"warning: {printable(message)}", style="yellow"))


def printable(text: str) -> str:
    """Replace what could move the cursor, recolour or forge lines, or turn the direction of text."""
    return "".join(char if char.isprintable() else "?" for char in text)


def say(text: str = "", style: str = "") -> None:
    """Print one line of words; markup and control characters of a log do nothing in it."""
    Words().print(Text(printable(text), style=style))


def counted(number: int, noun: str) -> str:
    """Put a number before its noun: `1 entry`, `2,000 entries`, `3 logs`."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def show_json(value: msgspec.Struct) -> None:
    """Print one JSON object."""
    # ASCII only: a log's text cannot speak to the terminal, and any encoding of stdout will do.
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write("".join(char if char.isascii() else _escaped(char) for char in text) + "\n")


def one_source(argument: str, ca: Path | None = None, headers: Sequence[str] = ()) -> LogSource:
    """Open exactly one log.

    Raises:
        AuditError: there is none, or more than one.

    """
    found = open_sources(argument, ca, headers)
    if len(found) > 1:
        message = f"{argument} holds {len(found)} logs; name one of them, such as {found[0].name}"
        raise AuditError(message)
    return found[0]


def all_sources(arguments: Sequence[str]) -> list[LogSource]:
    """Open all logs under several folders.

    Raises:
        AuditError: one of them holds none.

    """
    return [source for argument in arguments for source in open_sources(argument, None, ())]


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears whole or not at all; one that is there already is never overwritten.

    Raises:
        AuditError: it exists, or cannot be written.

    """
    part = path.with_name(path.name + ".part")
    try:
        if path.exists() or path.is_symlink():
            message = f"{path} is there already; move it away first"
            raise AuditError(message)
        try:
            with part.open("wb") as file:
                yield file
            # Not rename: that would overwrite what another process wrote meanwhile.
            os.link(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        message = f"cannot write {path}: {getattr(error, 'strerror', None) or error}"
        raise AuditError(message) from error


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}" for at in range(0, len(units), 2))
