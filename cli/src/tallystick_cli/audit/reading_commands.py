"""`tally audit sample`, `diff`, `explain` and `state`: questions to exports, answered offline."""

from pathlib import Path
from typing import Annotated

import typer

from tallystick_cli.audit.console import (
    EXIT_DAMAGED,
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    LogArgument,
    LogsArgument,
    all_sources,
    fail,
    new_file,
    one_source,
    plain_errors,
    show_json,
    warn,
)
from tallystick_cli.audit.diff import compare
from tallystick_cli.audit.explain import explain as explain_entry
from tallystick_cli.audit.explain import find_entry
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.narrate import tell_diff, tell_entry, tell_sample, tell_states
from tallystick_cli.audit.render import NOT_PINNED, end_by, progress_bar, report_json, total_bytes
from tallystick_cli.audit.sample import MAX_SAMPLE, draw_sample
from tallystick_cli.audit.sources import open_sources
from tallystick_cli.audit.state import Clock, States, parse_time, states_at
from tallystick_cli.audit.walk import Walk
from tallystick_cli.audit.workpaper import as_csv, as_markdown


def sample(
    export: LogArgument,
    *,
    seed: Annotated[str, typer.Option(help="A text of your own, chosen after the export was made.")],
    count: Annotated[int, typer.Option(min=1, max=MAX_SAMPLE, help="How many entries to draw.")] = 25,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only this type; * stands for any text.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a workpaper to fill in: CSV if the name ends in .csv, else Markdown.")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Verify a log and draw a random sample of its entries that anyone can draw again.

    Which entries are drawn follows from the log's root and your seed by SHA-256: the operator, who did not know the
    seed, could not foresee it; you, who do not make the root, could not choose it. Exit status: 0 drawn, 1 the log is
    damaged and nothing was drawn, 2 not done.

        tally audit sample logs/acme-compliance --key ledger.vkey --seed "2026-11-22 heron" --count 25
        --type "assessment.score.*" --out workpaper.md
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        if out is not None and out.exists():
            fail(f"{out} is there already; move it away first")
        source = one_source(export, ca, header or ())
        with progress_bar(total_bytes([source])) as advance:
            drawn, report = draw_sample(Walk(source, keys), seed, count, kind, advance)
        if drawn is not None and out is not None:
            with new_file(out) as file:
                file.write(as_csv(drawn) if out.suffix.lower() == ".csv" else as_markdown(drawn))
    if drawn is None:
        if as_json:
            report_json((report,))
        end_by((report,), quiet=as_json)
        return
    if as_json:
        show_json(drawn)
    else:
        tell_sample(drawn, out)
    if not drawn.population and kind is not None:
        warn(f"no entry is of type {kind}: the sample is empty")
    end_by((report,))


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="An export folder or an http(s) address of one.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another export of the same log.")],
    *,
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Compare two exports of one log: how far they agree, the first difference, what each has beyond.

    Exit status: 0 they are the same or one continues the other, 1 they part or do not match their checkpoints, 2 not
    done. Two signed checkpoints whose logs part prove that the operator showed two histories: keep both exports.

        tally audit diff mine/acme-compliance theirs/acme-compliance --key ledger.vkey
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        first, second = one_source(a, ca, header or ()), one_source(b, ca, header or ())
        with progress_bar(total_bytes([first, second])) as advance:
            found = compare(first, second, keys, advance)
    if as_json:
        show_json(found)
    else:
        tell_diff(found)
    if not keys:
        warn(NOT_PINNED)
    if found.verdict == "fork" or found.problems:
        raise typer.Exit(EXIT_DAMAGED)


def explain(
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="An export folder, or a folder of such folders.")],
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="The entry's number in the log, or its event id.")],
    *,
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Say in words what an entry is: what happened, who did it, by which request, what caused it, what it caused.

    The logs are verified on the way. Exit status: 0 explained, 1 explained but the log is damaged, 2 not done.

        tally audit explain logs/acme-compliance 17 --key ledger.vkey

        tally audit explain logs 5686ba7c-a403-446d-98da-c4e3ad273e7c
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        sources = open_sources(export, ca, header or ())
        with progress_bar(total_bytes(sources, 2)) as advance:
            record, reports = find_entry(sources, entry, keys, advance)
            explanation = explain_entry(record, sources, reports, advance)
    if as_json:
        show_json(explanation)
    else:
        tell_entry(explanation)
    end_by(reports)


def state(
    exports: LogsArgument,
    *,
    at: Annotated[str, typer.Option(help="The moment: 2026-11-21 (its end) or 2026-11-21T23:34:05Z.")],
    stream: Annotated[str, typer.Option(help="The stream, as entries name it.")],
    by: Annotated[
        Clock, typer.Option(help="Which time counts: when it happened, or when the log recorded it.")
    ] = "happened",
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what was true of one stream at a moment, by folding its events up to then.

    Each event is shown with the fields it set, then each field as the last of them left it. The logs are verified on
    the way. Exit status: 0 shown, 1 shown but a log is damaged, 2 not done.

        tally audit state logs --stream role-db4c9cb2-2d6e-4e95-bb7c-290000000000 --at 2026-11-21T12:00:00Z
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        moment = parse_time(at)
        sources = all_sources(exports)
        with progress_bar(total_bytes(sources)) as advance:
            states, reports = states_at(sources, stream, moment, by, keys, advance)
    if as_json:
        show_json(States(states))
    else:
        tell_states(states)
    end_by(reports)
