"""``make demo``: from a question to a certificate that anyone can check, under kills, with a reckoning at the end."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.cluster.steps import StepFailed, require
from tallystick_cli.stack import control
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout

from tallystick_demo import accounts, proof, story
from tallystick_demo.cohort import OWN_DATA, Cohort, load
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox
from tallystick_demo.operator import stored_events, tally
from tallystick_demo.report import Telling, first_reason
from tallystick_demo.story import Stage, Tenant

SHARED_DATA = Path("../shared/data/demo")


async def _found_tenants(layout: Layout, cohort: Cohort) -> None:
    for number, slug in enumerate(cohort.tenants):
        (administrator,) = (who for who in cohort.staff_of(slug) if who.role == "administrator")
        command = ("tenant", "add") if number else ("init",)
        who = ("--tenant", slug, "--name", slug.title(), "--admin", administrator.email)
        await tally(*command, *who, "--dir", str(layout.root))


async def run(folder: Path, data: Path, console: Console) -> None:
    """Play the whole story in ``folder``; raises when a step does not hold. The report is written either way."""
    layout = Layout.at(folder / "stack")
    telling = Telling(console)
    try:
        with ExitStack() as until_the_end:
            await _play(folder, layout, load(data), telling, until_the_end)
    finally:
        telling.write(folder / "report.json")


async def _play(folder: Path, layout: Layout, cohort: Cohort, telling: Telling, until_the_end: ExitStack) -> None:
    async with telling.step("Servers and services start from nothing") as step:
        # Blocks the event loop, which has nothing else to do yet: the stack ends with the thread that made it.
        up = until_the_end.enter_context(control.attached(layout))
        await _found_tenants(layout, cohort)
        step.detail = (
            f"{len(up.programs)} processes on free ports with keys of their own; "
            f"tenants {' and '.join(cohort.tenants)}, an administrator each"
        )
    tls = ssl.create_default_context(cafile=layout.ca_file)
    with Journal(folder / "journal.ndjson") as journal:
        world = World(control.endpoints(layout), tls, Mailbox(layout.mail), journal, Traffic())
        tenants = {slug: Tenant(slug) for slug in cohort.tenants}
        for tenant in tenants.values():
            (administrator,) = (who for who in cohort.staff_of(tenant.slug) if who.role == "administrator")
            tenant.staff["administrator"] = Person(world, tenant=tenant.slug, email=administrator.email)
        stage = Stage(world, layout, cohort, tenants)
        try:
            await _perform(folder, stage, telling)
        finally:
            await proof.leave(list(stage.everyone()))


async def _perform(folder: Path, stage: Stage, telling: Telling) -> None:
    report = telling.report
    for name, act in (
        ("People arrive", story.people_arrive),
        ("An exam is published and assigned", story.exam_is_published),
        ("60 candidates take it while every process is killed", story.exam_under_kills),
        ("Submissions are scored", story.scores_are_there),
        (f"Question {story.WRONG_ITEM} was keyed wrongly: dry run, apply, revert, apply", story.key_is_mended),
        ("Certificates are issued, one is revoked", story.certificates_are_issued),
        ("Another tenant's data is out of reach, and reaching for it is recorded", story.tenants_stay_apart),
    ):
        async with telling.step(name) as step:
            await act(stage, step)
    report.kills = stage.kills
    async with telling.step("Anyone verifies a good, a revoked and a made-up certificate") as step:
        report.certificates = await proof.anyone_verifies(stage, step, folder / "certificates")
    async with telling.step("A person is erased") as step:
        erasure = await proof.person_is_erased(stage, step)
    async with telling.step("One correlation id shows every hop") as step:
        await proof.one_id_shows_everything(stage, step, erasure)
    async with telling.step("Auditors export every log") as step:
        await accounts.everything_confirmed(stage.layout)
        commands_before = len(stage.world.journal.accepted)
        exported = await proof.auditor_exports(stage, step, folder / "logs")
    async with telling.step("Auditors replay every log offline") as step:
        await proof.auditor_replays(step, exported)
    async with telling.step("Nothing was lost and nothing was done twice") as step:
        accepted = stage.world.journal.accepted
        stored = await asyncio.to_thread(stored_events, stage.layout)
        reckoning = accounts.reckon(
            accepted,
            stored,
            accounts.exported_ids(log.folder for log in exported),
            not_yet_exported=frozenset(one.key for one in accepted[commands_before:]),
        )
        report.commands_accepted, report.events_stored = reckoning.commands, reckoning.events
        report.entries, report.lost, report.duplicates = (
            reckoning.entries,
            len(reckoning.lost),
            len(reckoning.duplicates),
        )
        require(not reckoning.lost, f"lost: {', '.join(reckoning.lost[:5])}")
        require(not reckoning.duplicates, f"done twice: {', '.join(reckoning.duplicates[:5])}")
        step.detail = (
            f"{reckoning.commands} accepted commands, each with its events in the stores and in the exports, once: "
            f"{reckoning.events} events, {reckoning.entries} entries (what the exports recorded came after them)"
        )


def main() -> int:
    """Run the demo; exit 0 when every step held, 1 when one did not."""
    parser = argparse.ArgumentParser(prog="python -m tallystick_demo", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(".tally/demo"), help="where logs, certificates and report go")
    parser.add_argument(
        "--data", type=Path, help="evaluation.yaml and candidates.csv (default: ../shared/data/demo, else demo/data)"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    data = arguments.data or (SHARED_DATA if SHARED_DATA.exists() else OWN_DATA)
    folder = arguments.dir.absolute()
    stack = Layout.at(folder / "stack")
    try:
        if control.is_running(stack):
            control.down(stack)
        control.erase(stack)
        for old in ("logs", "certificates"):
            shutil.rmtree(folder / old, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        console.print(f"[bold]Tallystick[/]: the main job, with input from {data}\n")
        asyncio.run(run(folder, data, console))
    except (StepFailed, StackError, ExceptionGroup) as failed:
        console.print(
            f"\n[bold red]The demo failed.[/] {first_reason(failed)}\nLogs are in {stack.logs}", soft_wrap=True
        )
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(f"\n[bold green]Every step held.[/] Report, logs and certificates: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
