"""`tally audit reconcile`: does what the services hold agree with what the ledger says?"""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from tallystick_cli.audit.console import (
    EXIT_DAMAGED,
    MAX_SECONDS,
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    LogsArgument,
    fail,
    plain_errors,
    say,
    show_json,
)
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.present import SERVICES, Service
from tallystick_cli.audit.reconcile import Difference, Reconciliation
from tallystick_cli.audit.reconcile import reconcile as compare
from tallystick_cli.audit.render import end_by, progress_bar, total_bytes
from tallystick_cli.audit.sources import UrlSource, open_sources


def reconcile(
    logs: LogsArgument,
    *,
    service: Annotated[
        list[str],
        typer.Option(
            "--service", metavar="NAME=URL", help="Where a service answers; repeatable. Name those to compare."
        ),
    ],
    key: KeyOption = None,
    grace_s: Annotated[
        float,
        typer.Option(
            "--grace",
            min=0,
            max=MAX_SECONDS,
            help="Seconds that an event may take to the ledger, and from it to others.",
        ),
    ] = 300.0,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Compare the services' present state with a tenant's logs and name each row that was changed behind their back.

    Give the compliance log, and audit logs from the first on to compare attempts and answers too. The session in
    --header needs `state.read` in the root unit and below. Rows newer than the logs are counted, not judged: export,
    then reconcile. Exit status: 0 they agree, 1 they differ or a log is damaged, 2 not done.

        tally audit reconcile logs/acme-compliance --key ledger.vkey --header 'Cookie: …'
        --service identity=https://id.example --service assessment=https://exams.example
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        services = [_service(one, ca, header or ()) for one in service]
        if len({one.name for one in services}) < len(services):
            fail("a --service is named twice")
        sources = [source for log in logs for source in open_sources(log, ca, header or ())]
        with progress_bar(total_bytes(sources)) as advance:
            found, reports = compare(sources, services, keys, grace_s, advance, datetime.now(UTC))
    if as_json:
        show_json(found)
    else:
        _tell(found)
    end_by(reports)
    if found.status == "differs":
        raise typer.Exit(EXIT_DAMAGED)


def _service(named: str, ca: CaOption, headers: list[str] | tuple[str, ...]) -> Service:
    name, _, url = named.partition("=")
    if name not in SERVICES or not url.startswith(("https://", "http://")):
        fail(f"--service is written NAME=URL, with NAME one of {', '.join(SERVICES)}")
    return Service(name, UrlSource(url, ca, headers))


def _tell(found: Reconciliation) -> None:
    for one in found.services:
        left_out = f"; not {', '.join(one.left_out)}, whose logs are not here from the first" if one.left_out else ""
        say(f"{one.service}: {one.rows:,} rows of {len(one.kinds)} kinds compared{left_out}")
    say(f"{found.events:,} events compared with the services' stores; logs as of {found.as_of}")
    if found.under_way:
        say(f"{found.under_way:,} rows and events are newer than the logs, or still under way: not judged")
    for difference in found.differences:
        say(f"  {_in_words(difference)}", style="red")
    if found.not_shown:
        say(f"  … and {found.not_shown:,} more", style="red")
    if found.status == "agrees":
        say("agrees: the services hold what the ledger says", style="green")
    elif found.status == "damaged":
        say("damaged: no difference up to where the log breaks; nothing after it was compared", style="red")
    else:
        say(f"differs: {len(found.differences) + found.not_shown:,} differences", style="red")
    say("What this comparison cannot show:", style="bold")
    for limit in found.limits:
        say(f"  - {limit}")


def _in_words(one: Difference) -> str:
    entry = f"entry {one.seq} of {one.log}"
    present, expected = (msgspec.json.encode(value).decode() for value in (one.present, one.expected))
    said = {
        "row_changed": f"{one.field} is {present}, {entry} says {expected}",
        "row_missing": f"it is gone; {entry} says that it was made",
        "row_extra": "it is there, and no entry says that it was made",
        "event_changed": f"the stored event's {one.field} is {present}, {entry} has {expected}",
        "event_gone": f"it is no longer in the service's store, but is {entry}",
        "event_unrecorded": "it is in the service's store under a number at which the ledger has nothing of it",
        "event_withheld": f"it has been in the service's store since {present} and is not in the ledger",
    }
    return f"{one.service}: {one.kind} {one.key}: {said[one.code]}"
