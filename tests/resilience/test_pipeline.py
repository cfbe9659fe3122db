"""Between an event's commit and its receipt: a crash at any place, and everything a broker may do to a message."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from faults.broker import Broker, Crash, Weather
from faults.pipeline import Pipeline, pipeline
from tallystick_chassis.bus import BusMessage

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick_cli.stack.temporary import Databases

pytestmark = pytest.mark.xdist_group("resilience")

PLACES = (
    "before publishing evt",  # the relay has numbered and not published
    "after publishing evt",  # published, and not marked as published
    "before commit",
    "after commit",  # recorded, and not acknowledged
    "before acknowledgement",
    "after acknowledgement",  # acknowledged, and no receipt given
    "before publishing rcpt",
    "after publishing rcpt",  # the receipt is given, and the outbox rows are still there
)
STORM = Weather(twice=0.3, late=0.3, shuffled=True)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Broker:
    return Broker(random.Random(request.node.name))  # noqa: S311 - the same every time


@pytest.fixture
async def pipe(migrated_databases: Databases, broker: Broker, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(migrated_databases, broker, tmp_path / "marks") as made:
        yield made


async def dies(pipe: Pipeline) -> bool:
    """Go on until the process dies, or nothing is left to do; whoever comes after it begins anew."""
    try:
        await pipe.settle()
    except Crash:
        pipe.restart()
        return True
    return False


@pytest.mark.control("X-10")
async def test_a_crash_between_commit_acknowledgement_and_receipt_ends_in_one_entry_and_a_receipt(
    pipe: Pipeline, broker: Broker
) -> None:
    for place in PLACES:
        await pipe.commit(3)
        broker.fuse.at(place)
        assert await dies(pipe), place
        await pipe.settle()
        await pipe.expect_each_once_and_in_order()
        assert await pipe.waiting() == 0


@pytest.mark.control("X-10")
async def test_crash_after_crash_at_random_places_in_a_storm_loses_nothing(pipe: Pipeline, broker: Broker) -> None:
    broker.weather = STORM
    for number in range(60):
        await pipe.commit(broker.luck.randint(1, 5), audit=number % 3 == 0)
        broker.fuse.light(broker.luck.randint(1, 25))
        await dies(pipe)
    broker.fuse.light(0)
    assert broker.fuse.crashes > 30
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()


async def test_duplicated_late_and_reordered_messages_are_recorded_once_and_in_order(
    pipe: Pipeline, broker: Broker
) -> None:
    broker.weather = STORM
    for _ in range(10):
        await pipe.commit(20)
        await pipe.step()
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()


async def test_poisoned_messages_are_quarantined_and_hold_nothing_back(pipe: Pipeline, broker: Broker) -> None:
    subject = f"evt.{pipe.tenant}.identity.tenant.created"
    poison = [
        BusMessage(subject, b"\xff\xfe", {"source-seq": "1"}),
        BusMessage(subject, b"{}", {"source-seq": "2"}),
        BusMessage(subject, b"x" * 70_000, {"source-seq": "3"}),
        BusMessage(subject, b"{ }", {}),
        BusMessage(f"evt.{pipe.tenant}.identity", b"{}", {"source-seq": "1"}),
    ]
    for one in poison:
        await pipe.commit(3)
        await broker.publish_batch([one], timeout_s=1)
        await pipe.step()
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()
    assert await pipe.quarantined() == [
        "bad_sequence", "bad_subject", "broken_contract", "broken_contract", "too_large",
    ]  # fmt: skip


async def test_two_writers_on_one_log_record_each_event_once(pipe: Pipeline, broker: Broker) -> None:
    broker.weather = STORM
    others = [pipe.another_writer() for _ in range(2)]
    for number in range(12):
        await pipe.commit(10, audit=number % 2 == 0)
        await pipe.relay.step()
        await asyncio.gather(pipe.job.step(), *(other.step() for other in others))
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()


async def test_a_broker_that_loses_everything_again_and_again_costs_time_and_nothing_else(
    pipe: Pipeline, broker: Broker
) -> None:
    for number in range(12):
        await pipe.commit(5)
        broker.fuse.light(number + 1)
        with suppress(Crash):
            await pipe.step()
        broker.wipe()
        pipe.restart()
    broker.fuse.light(0)
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()


@pytest.mark.parametrize("back", [{"minutes": 5}, {"days": 3}, {"days": 40}])
async def test_a_clock_that_is_set_back_never_sets_an_entrys_time_back(pipe: Pipeline, back: dict[str, float]) -> None:
    pipe.clock.now = datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
    for _ in range(2):
        await pipe.commit(3)
        await pipe.commit(3, audit=True)
        await pipe.settle()
        pipe.clock.advance(**{unit: -value for unit, value in back.items()})
    await pipe.commit(2)
    await pipe.settle()
    await pipe.expect_each_once_and_in_order()
    entries = await pipe.entries()
    for log in {one.log for one in entries}:
        times = [one.recorded for one in entries if one.log == log]
        assert times == sorted(times)
    assert {one.log.rsplit("/", 1)[1] for one in entries} == {"compliance", "audit-2026-12"}
