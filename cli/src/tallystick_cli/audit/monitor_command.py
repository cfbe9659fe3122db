"""`tally audit monitor`: follow a live log and raise the alarm."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tallystick_cli.audit.console import (
    EXIT_DAMAGED,
    MAX_SECONDS,
    CaOption,
    HeaderOption,
    JsonOption,
    PinnedKeyOption,
    fail,
    one_source,
    plain_errors,
    printable,
    say,
)
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.monitor import Monitor, Round


def monitor(
    url: Annotated[str, typer.Argument(metavar="URL", help="The log: https://ledger/api/v1/ledger/logs/ID.")],
    *,
    key: PinnedKeyOption,
    state: Annotated[Path, typer.Option(help="A folder for what was seen: checkpoints, replay, evidence.")],
    once: Annotated[bool, typer.Option("--once", help="Look once, for cron.")] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", min=1, max=MAX_SECONDS, help="Seconds between two looks.")
    ] = 60.0,
    stall_after_s: Annotated[
        float | None,
        typer.Option(
            "--stall-after",
            min=1,
            max=MAX_SECONDS,
            help="Alarm if the log has not grown for so many seconds.",
        ),
    ] = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Follow a live log: verify each new checkpoint against the last one seen, entry by entry.

    Alarms: signature, fork (two histories), shrunk, gap (an event or entry is missing), damaged, stall (no growth, or
    no answer, for --stall-after seconds). An alarm ends the command and leaves the offending checkpoint beside the one
    seen before: together they are the evidence. Exit status: 0 all is well (--once), 1 alarm, 2 not done.

        tally audit monitor https://ledger.example/api/v1/ledger/logs/ID --key ledger.vkey --state seen --once
    """
    with plain_errors():
        source = one_source(url, ca, header or ())
        watch = Monitor(source, load_keys(key), state, stall_after_s)
    answered = time.monotonic()
    while True:
        try:
            seen = watch.look(datetime.now(UTC))
            answered = time.monotonic()
        except AuditError as error:
            if once:
                fail(str(error))
            sys.stderr.write(f"error: {printable(str(error))}\n")
            silent_s = time.monotonic() - answered
            if stall_after_s is None or silent_s <= stall_after_s:
                time.sleep(interval_s)
                continue
            message = f"no answer for {silent_s:.0f} s"
            seen = Round(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", source.name, alarm="stall", message=message)
        _show(seen, as_json=as_json)
        if seen.alarm is not None:
            raise typer.Exit(EXIT_DAMAGED)
        if once:
            return
        time.sleep(interval_s)


def _show(seen: Round, *, as_json: bool) -> None:
    if as_json:
        # One object a line, so that a long run can be read as it goes.
        sys.stdout.write(msgspec.json.encode(seen).decode("ascii", "replace") + "\n")
    elif seen.alarm is None:
        say(f"{seen.at}  {seen.log}: {seen.size} entries, {seen.added} new, root {seen.root}")
    else:
        where = "" if seen.entry is None else f" at entry {seen.entry}"
        say(f"{seen.at}  {seen.log or seen.source}: ALARM {seen.alarm}{where}: {seen.message}", "red")
        if seen.evidence:
            say(f"  evidence: {seen.evidence}")
    sys.stdout.flush()
