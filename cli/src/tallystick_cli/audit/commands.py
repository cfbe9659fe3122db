"""``tally audit``: verify exported logs and single proofs, offline, with a key you pinned."""

import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from tallystick_tlog import TlogError, TlogProof, leaf_hash, parse_entry

from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.keys import load_kept, load_keys
from tallystick_cli.audit.render import progress_bar, show_json, show_text, warn_if_unauthenticated
from tallystick_cli.audit.sources import LogSource, open_sources, read_small_file
from tallystick_cli.audit.verify import verify_log

EXIT_DAMAGED: Final = 1
EXIT_NOT_DONE: Final = 2

app = typer.Typer(
    help="Replay a ledger on your own machine; needs no server and trusts nothing but the key you pinned.",
    no_args_is_help=True,
)

_KEY_HELP = "The ledger's key as you pinned it: name+hash+key, or a file with one such key a line."


@app.command()
def verify(
    source: Annotated[str, typer.Argument(help="An export folder, a folder of such folders, or an http(s) address.")],
    *,
    key: Annotated[str | None, typer.Option(metavar="VKEY|FILE", help=_KEY_HELP)] = None,
    since: Annotated[Path | None, typer.Option(help="A checkpoint you kept: the log must still begin with it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes to use; 0 means all processors for long logs.")] = 0,
    ca: Annotated[Path | None, typer.Option(help="Certificate authorities to trust for an https address.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header to send, such as 'Cookie: …'; repeatable.")] = None,
) -> None:
    """Replay every entry of a log and name the first that does not hold.

    An export is a folder with `entries.ndjson`, `checkpoint` and `ledger.vkey`. Exit status: 0 intact, 1 damaged,
    2 not done. Without --key the answer is only "self-consistent": whoever made the log can have made the key.

        tally audit verify logs/acme-compliance --key ledger.vkey --since kept/checkpoint
    """
    try:
        keys = load_keys(key) if key is not None else ()
        kept = load_kept(since) if since is not None else None
        sources = open_sources(source, ca, header or ())
        with progress_bar(_total_bytes(sources)) as advance:
            reports = tuple(verify_log(item, keys, kept, jobs, advance) for item in sources)
        if kept is not None and all(report.log not in {None, kept[1].origin} for report in reports):
            _fail(f"the checkpoint you kept is of log {kept[1].origin}, which is not here")
    except AuditError as error:
        _fail(str(error))
    (show_json if as_json else show_text)(reports)
    warn_if_unauthenticated(reports)
    if any(report.status == "damaged" for report in reports):
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def proof(
    proof_file: Annotated[Path, typer.Argument(help="A c2sp.org/tlog-proof@v1 file.")],
    entry_file: Annotated[Path, typer.Argument(help="The entry: its line, with or without the line feed.")],
    *,
    key: Annotated[str, typer.Option(metavar="VKEY|FILE", help=_KEY_HELP)],
) -> None:
    """Check that one entry stands in a log, from its proof file alone.

    tally audit proof certificates/1.proof certificates/1.entry.json --key ledger.vkey
    """
    try:
        keys = load_keys(key)
        line = read_small_file(entry_file).removesuffix(b"\n")
        data = read_small_file(proof_file)
    except AuditError as error:
        _fail(str(error))
    try:
        entry = parse_entry(line)
        found = TlogProof.from_bytes(data)
        checkpoint = found.verify(leaf_hash(line), keys)
    except TlogError as error:
        typer.echo(f"not proved: {_printable(str(error))}")
        raise typer.Exit(EXIT_DAMAGED) from None
    if (entry.log, entry.seq) != (checkpoint.origin, found.index):
        typer.echo(f"not proved: the entry calls itself {entry.seq} of {entry.log}, the proof is of another place")
        raise typer.Exit(EXIT_DAMAGED)
    typer.echo(f"proved: entry {entry.seq} of {entry.log} ({checkpoint.size} entries), {entry.event.type}")


def _total_bytes(sources: list[LogSource]) -> int | None:
    paths = [item.path for item in sources]
    try:
        return sum(path.stat().st_size for path in paths if path) if all(paths) else None
    except OSError:
        return None


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {_printable(message)}\n")
    raise typer.Exit(EXIT_NOT_DONE)
