"""`tally audit prove` and `consistency`: proofs made on your own machine."""

from pathlib import Path
from typing import Annotated

import typer
from tallystick_tlog import to_base64

from tallystick_cli.audit.consistency import open_side, show_consistency
from tallystick_cli.audit.console import (
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    LogArgument,
    new_file,
    one_source,
    plain_errors,
    say,
    show_json,
    warn,
)
from tallystick_cli.audit.findings import EntryProof
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.prove import prove_entry
from tallystick_cli.audit.render import NOT_PINNED, progress_bar, total_bytes


def prove(
    export: LogArgument,
    seq: Annotated[int, typer.Argument(min=0, help="The entry's number in the log, from 0.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write the proof file here; else it goes to stdout.")] = None,
    entry_out: Annotated[
        Path | None, typer.Option(help="Write the entry's line here, for `tally audit proof`.")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Prove that one entry stands in a log: a small file that anyone can check without the log.

    The file is a c2sp.org/tlog-proof@v1: the entry's place, the hashes up to the root, and the signed checkpoint.
    Exit status: 0 proved, 1 the export does not prove it, 2 not done.

        tally audit prove logs/acme-compliance 17 --key ledger.vkey --out 17.proof --entry-out 17.json

        tally audit proof 17.proof 17.json --key ledger.vkey
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        source = one_source(export, ca, header or ())
        with progress_bar(total_bytes([source])) as advance:
            proved = prove_entry(source, seq, keys, advance)
        if out is not None:
            with new_file(out) as file:
                file.write(proved.proof)
        if entry_out is not None:
            with new_file(entry_out) as file:
                file.write(proved.line + b"\n")
    checkpoint = proved.checkpoint
    if as_json:
        root = to_base64(checkpoint.root)
        line, text = proved.line.decode(), proved.proof.decode()
        show_json(EntryProof(checkpoint.origin, seq, checkpoint.size, root, bool(keys), line, text))
    elif out is None:
        typer.echo(proved.proof.decode(), nl=False)
    else:
        say(f"proved: entry {seq} of {checkpoint.origin} ({checkpoint.size} entries), in {out}")
    if not keys:
        warn(NOT_PINNED)


def consistency(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The older checkpoint, or an export folder.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The newer export folder, or a checkpoint with --proof.")],
    *,
    key: KeyOption = None,
    proof: Annotated[Path | None, typer.Option(help="A consistency proof, one base64 hash a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the proof here, for --proof.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show that the log of NEW begins with the log of OLD: nothing was changed or taken away in between.

    It replays NEW's entries and compares both roots; with --proof, it needs the two checkpoints alone.
    Exit status: 0 it does, 1 it does not, 2 not done.

        tally audit consistency kept/checkpoint logs/acme-compliance --key ledger.vkey
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        older, newer = open_side(old), open_side(new)
        with progress_bar(total_bytes([newer.source] if newer.source else [])) as advance:
            shown = show_consistency(older, newer, keys, proof, advance)
        if out is not None:
            with new_file(out) as file:
                file.write("".join(f"{item}\n" for item in shown.proof).encode())
    if as_json:
        show_json(shown)
    else:
        say(f"consistent: the {shown.new_size} entries of NEW begin with the {shown.old_size} of OLD ({shown.by})")
        say(f"  log {shown.log}")
        say(f"  OLD root {shown.old_root}")
        say(f"  NEW root {shown.new_root}")
    if not keys:
        warn(NOT_PINNED)
