"""A test build whose services name no tenant in their statements is as closed as the real one: policies do it alone.

A system of its own, in which every process of every service runs with ``tests/support/unfiltered``: the house is built
in it from the first tenant on, so that each consumer and job has worked without filters, under the eyes of a witness in
the database; then the sweep goes over every route. With the policies open, both turn red.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep import isolation
from sweep.catalog import Catalog, read_catalog
from sweep.house import House, eventually, open_house
from sweep.jobs import every_job
from sweep.policies import open_policies
from sweep.witness import Witness
from tallystick_cli.stack import boot, control, state
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import DATABASE, Servers
from tallystick_cli.stack.temporary import temporary_folder

pytestmark = [
    pytest.mark.xdist_group("unfiltered"),
    pytest.mark.control("EV-11f"),
    pytest.mark.control("EV-22b"),
    pytest.mark.control("DI-01"),
]

BUILD = Path(__file__).parent.parent / "support" / "unfiltered"
PAIRS = [("stranger", "south", "a"), ("owner", "a", "south"), ("neighbour", "b", "a")]
WRITE_NOTHING_HERE = {
    "announce-epochs": "reads, and says on NATS what others must forget",
    "heads": "reads, and says on NATS how far a source is",
    "prune": "deletes what is a day old or older: libs/chassis/tests",
    "prune-sign-in-requests": "deletes sign-in requests a day after their end",
    "rate-counters": "deletes counters when their window is over",
    "hand-over": "takes the relay's part when NATS has been away: tests/resilience",
    "dead-letters": "handles again what an operator asks for: libs/chassis/tests",
    "watch-high-water": "compares the marks with the logs' sizes",
    "compact-high-water": "rewrites a file",
    "close-audit-logs": "closes a month's log after its end: services/ledger/tests",
    "drop-expired-logs": "drops a log after its retention: services/ledger/tests",
    "export-": "measures long exports; a short one is measured in its request: services/ledger/tests",
    "mint-keys": "mints a day's keys where no consumer has: services/privacy-worker/tests",
    "refill-successors": "fills a log that succeeds a lost one: services/ledger/tests",
    "heads-of": "fetches from the source what never arrived: libs/chassis/tests",
}
"""Jobs that write no tenant's row while a house is built, by the beginning of their names, and why."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unfiltered")


@pytest.fixture(scope="module")
def unfiltered(reports: Path) -> Iterator[Layout]:
    with temporary_folder() as layout:
        layout.create()
        environment = {"PYTHONPATH": BUILD, "UNFILTERED_REPORT": reports}
        (layout.root / "service.env").write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        with control.attached(layout):
            yield layout


@pytest.fixture(scope="module")
def servers(unfiltered: Layout) -> Servers:
    return boot.describe(unfiltered, state.read(unfiltered))


@pytest.fixture(scope="module")
def catalog(servers: Servers) -> Catalog:
    return read_catalog(servers, DATABASE)


@pytest.fixture(scope="module")
def witness(servers: Servers, catalog: Catalog) -> Witness:
    return Witness(servers, catalog)


@pytest.fixture(scope="module")
def bare(unfiltered: Layout, witness: Witness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The house, built in the test build and under the witness's eyes."""
    assert not witness.strays()
    with open_house(unfiltered, tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.mark.usefixtures("bare")
def test_the_build_names_no_tenant_in_any_statement(reports):
    said = {line for file in reports.glob("*.txt") for line in file.read_text(encoding="utf-8").splitlines()}
    assert len({line for line in said if line.startswith("stripped ")}) > 80
    assert not {line for line in said if line.startswith("left ")}
    assert len(list(reports.glob("*.txt"))) >= 9, "a process runs that is not of the test build"


@pytest.mark.parametrize(("who", "own", "foreign"), PAIRS)
def test_a_foreign_id_is_still_answered_like_one_that_does_not_exist(bare, who, own, foreign):
    tried, found = isolation.by_id(bare, who, own=own, foreign=foreign)
    assert not found
    assert tried >= 40


@pytest.mark.parametrize(("who", "own", "foreign"), PAIRS)
def test_a_list_still_holds_nothing_of_anothers(bare, who, own, foreign):
    tried, found = isolation.in_lists(bare, who, own=own, foreign=foreign)
    assert not found
    assert tried >= 15


def test_lists_still_hold_what_is_ones_own(bare):
    for who, place in (("owner", "a"), ("stranger", "south")):
        assert not isolation.missing_from_own_lists(bare, who, place)


def test_every_consumer_and_job_worked_for_both_tenants_and_wrote_no_row_of_another(bare, witness):
    tenants = {bare.places["a"].tenant, bare.places["south"].tenant}
    jobs = every_job(bare.layout)
    idle = {one for one in jobs if one[1].startswith(tuple(WRITE_NOTHING_HERE))}
    assert not [one for one in WRITE_NOTHING_HERE if not any(job.startswith(one) for _, job in jobs)]
    wanted = {(service, job, tenant) for service, job in jobs - idle for tenant in tenants}
    eventually(lambda: wanted <= witness.workers() or None, f"{sorted(wanted - witness.workers())}")
    assert not witness.strays()


def test_both_turn_red_when_the_policies_say_true(bare, servers, catalog, witness):
    reads = {"of": lambda route: not route.is_unsafe}
    with open_policies(servers, catalog):
        _, by_id = isolation.by_id(bare, "stranger", own="south", foreign="a", **reads)
        _, in_lists = isolation.in_lists(bare, "stranger", own="south", foreign="a", **reads)
        # A consumer says once a second how far it is, for each tenant in its turn.
        eventually(lambda: witness.strays() or None, "a row written in another tenant's scope")
    assert len(by_id) >= 15
    assert len(in_lists) >= 10
