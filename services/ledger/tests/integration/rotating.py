"""A checkpoint key that is rotated in tests: who begins it, who delivers it, and how an auditor follows."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tallystick_chassis.ids import TenantId
from tallystick_contracts.message import LogKind
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import NOTHING
from tallystick_ledger.keys.ring import KeyRing, public_of
from tallystick_ledger.keys.rotation import KeyRotator
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import (
    KeyHistory,
    VerifierKey,
    open_checkpoint,
    parse_note,
)

from .conftest import PREFIX, SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.mark import Head
    from tallystick_ledger.writing.arrival import Arrival

    from .conftest import FakeSource, SettableClock, StoredLog

L, A = LogKind.COMPLIANCE, LogKind.AUDIT
FIRST = public_of(SEED)
WEEK = timedelta(days=7)


@pytest.fixture
def ledger_databases(copy_ledger: Callable[[], Databases]) -> Databases:
    """A database for each test: a rotation is the installation's."""
    return copy_ledger()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def writer(duty: DutyDatabase, source: FakeSource, clock: SettableClock, folder: Path) -> LedgerWriter:
    return writer_of(duty, source, clock, folder)


@pytest.fixture
def rotator(database: Database, duty: DutyDatabase, clock: SettableClock, folder: Path) -> KeyRotator:
    return KeyRotator(database=database, duty=duty, ring=KeyRing(SEED, folder), prefix=PREFIX, clock=clock)


class Unmarked:
    """Marks that nobody keeps: a rotation has nothing to do with them."""

    async def read(self, log_name: str) -> Head | None:
        return None if log_name else NOTHING

    async def recall(self, log_name: str) -> Head | None:
        return await self.read(log_name)

    async def read_all(self) -> Mapping[str, Head]:
        return {}

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        assert marks


def writer_of(duty: DutyDatabase, source: FakeSource, clock: SettableClock, folder: Path | None) -> LedgerWriter:
    keys = CheckpointKeys(KeyRing(SEED, folder), PREFIX)
    guard = HighWaterGuard(Unmarked())
    return LedgerWriter(duty=duty, feeds=source, prefix=PREFIX, keys=keys, clock=clock, high_water=guard)


async def sent(superuser: asyncpg.Connection, tenant: TenantId) -> list[Arrival]:
    """Return the rotations' events as the relay would deliver them."""
    rows = await superuser.fetch(
        "select body from ledger.events where tenant_id = $1 and type like 'ledger.%key.rotated' order by stream",
        tenant,
    )
    numbers: dict[str, int] = {}
    arrivals = []
    for row in rows:
        kind = read_event(tenant, 1, row["body"]).feed.aggregate
        numbers[kind] = numbers.get(kind, 0) + 1
        arrivals.append(read_event(tenant, numbers[kind], row["body"]))
    return arrivals


async def deliver(superuser: asyncpg.Connection, writer: LedgerWriter, tenant: TenantId) -> None:
    for arrival in await sent(superuser, tenant):
        await writer.record(tenant, arrival.log_kind, [arrival])


async def rotate(rotator: KeyRotator, superuser: asyncpg.Connection, writer: LedgerWriter, *tenants: TenantId) -> bytes:
    statement = await rotator.begin(overlap=WEEK, make=True)
    while (await rotator.step(statement)).lagging:
        for tenant in tenants:
            await deliver(superuser, writer, tenant)
    return statement.new


def history_of(stored: StoredLog) -> KeyHistory:
    """Follow the rotations as an auditor does, from the lines alone."""
    history = KeyHistory(stored.log["origin"])
    for seq, line in enumerate(stored.lines):
        if b'"type":"ledger.key.rotated"' in line or b'"type":"ledger.audit_key.rotated"' in line:
            history = history.add(seq, json.loads(line)["event"]["data"]["statement"])
    return history


def expect_all_signed(stored: StoredLog) -> None:
    history = history_of(stored)
    for row in stored.checkpoints:
        keys = history.verifiers_at(row["size"]) or (VerifierKey.ed25519(stored.log["origin"], FIRST),)
        assert open_checkpoint(row["note"].encode(), keys).size == row["size"]


def names(note: str) -> set[bytes]:
    return {signature.key_id for signature in parse_note(note.encode()).signatures}


def key_id(stored: StoredLog, public: bytes) -> bytes:
    return VerifierKey.ed25519(stored.log["origin"], public).key_id
