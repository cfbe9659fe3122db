"""``tally audit``: verify exported logs and single proofs, offline, with a key you pinned."""

from pathlib import Path
from typing import Annotated

import typer
from tallystick_tlog import TlogError

from tallystick_cli.audit.absent import find_absent
from tallystick_cli.audit.answering import AuditGroup
from tallystick_cli.audit.console import (
    EXIT_DAMAGED,
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    PinnedKeyOption,
    counted,
    fail,
    plain_errors,
    printable,
    say,
)
from tallystick_cli.audit.kept import load_kept_before, load_since
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.mirror import mirror
from tallystick_cli.audit.monitor_command import monitor
from tallystick_cli.audit.proof_file import check_proof
from tallystick_cli.audit.proving_commands import consistency, prove
from tallystick_cli.audit.reading_commands import diff, explain, sample, state
from tallystick_cli.audit.reconcile_command import reconcile
from tallystick_cli.audit.render import progress_bar, report_json, report_text, total_bytes, warn_if_unauthenticated
from tallystick_cli.audit.sources import open_sources, read_small_file
from tallystick_cli.audit.verify import verify_log
from tallystick_cli.audit.writing_commands import export_as, report

app = typer.Typer(
    cls=AuditGroup,
    help="Replay a ledger on your own machine; needs no server and trusts nothing but the key you pinned.",
    no_args_is_help=True,
)


@app.command()
def verify(
    source: Annotated[str, typer.Argument(help="An export folder, a folder of such folders, or an http(s) address.")],
    *,
    key: KeyOption = None,
    since: Annotated[
        Path | None, typer.Option(help="A checkpoint you kept, or a --keep folder: the log must still begin with it.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep an intact log's checkpoint in this folder, to go on from with --since.")
    ] = None,
    as_json: JsonOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes to use; 0 means all processors for long logs.")] = 0,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Replay every entry of a log and name the first that does not hold.

    An export is a folder with `entries.ndjson`, `checkpoint` and `ledger.vkey`. Exit status: 0 intact, 1 damaged,
    2 not done, 70 tally itself broke down. Without --key the answer is only "self-consistent": whoever made the log
    can have made the key.

    With --keep, the replay's state is kept too: --since with that folder reads only what was added since. Without
    --since, a checkpoint that the folder holds already is compared all the same, and replaced by what continues it.

        tally audit verify logs/acme-compliance --key ledger.vkey --since kept --keep kept
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        kept = load_since(since) if since is not None else ()
        before = kept or load_kept_before(keep)
        sources = open_sources(source, ca, header or ())
        with progress_bar(total_bytes(sources)) as advance:
            reports = tuple(verify_log(item, keys, before, jobs, advance, keep) for item in sources)
        if len(sources) > 1 or Path(sources[0].name) != Path(source):
            reports += find_absent(kept, reports)
        elif kept and reports[0].log is not None and reports[0].since is None:
            # Whoever names one log has not asked for the others; but then it should be one that was kept.
            origins = {item.checkpoint.origin for item in kept}
            fail(f"the checkpoint you kept is of log {min(origins)}, which is not here")
    (report_json if as_json else report_text)(reports)
    warn_if_unauthenticated(reports)
    if any(item.status == "damaged" for item in reports):
        raise typer.Exit(EXIT_DAMAGED)


@app.command()
def proof(
    proof_file: Annotated[Path, typer.Argument(help="A c2sp.org/tlog-proof@v1 file.")],
    entry_file: Annotated[Path, typer.Argument(help="The entry: its line, with or without the line feed.")],
    *,
    key: PinnedKeyOption,
) -> None:
    """Check that one entry stands in a log, from its proof file alone.

    tally audit proof certificates/1.proof certificates/1.entry.json --key ledger.vkey
    """
    with plain_errors():
        keys = load_keys(key)
        line = read_small_file(entry_file).removesuffix(b"\n")
        data = read_small_file(proof_file)
    try:
        entry, checkpoint = check_proof(data, line, keys)
    except TlogError as error:
        typer.echo(f"not proved: {printable(str(error))}")
        raise typer.Exit(EXIT_DAMAGED) from None
    say(f"proved: entry {entry.seq} of {entry.log} ({counted(checkpoint.size, 'entry')}), {entry.event.type}")


app.command()(prove)
app.command()(consistency)
app.command()(sample)
app.command()(diff)
app.command()(explain)
app.command()(state)
app.command()(report)
app.command("export-as")(export_as)
app.command()(monitor)
app.command()(mirror)
app.command()(reconcile)
