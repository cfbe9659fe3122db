"""The erasure of a person as a state machine: ordered, key destroyed, complete.

The order goes out to every service; each destroys what it holds and says so; when all have answered, the person's
private key is destroyed; only then is the job complete. Each step can be taken again after a crash.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime, timedelta

ANSWERING_SERVICES = frozenset({"identity", "assessment", "ledger", "verification"})
"""Whose receipts a job waits for. The privacy worker itself answers last, by destroying the key."""


class JobState(enum.StrEnum):
    """How far an erasure has come."""

    ORDERED = "ordered"
    KEY_DESTROYED = "key_destroyed"
    COMPLETE = "complete"


class Step(enum.Enum):
    """What is to be done next."""

    WAIT = "wait"
    DESTROY_KEY = "destroy_key"
    RECORD = "record"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one store of one service reported."""

    service: str
    store: str
    outcome: str
    items: int
    given_at: datetime


def missing_services(receipts: tuple[Receipt, ...]) -> frozenset[str]:
    """Return the services that have not answered yet."""
    return ANSWERING_SERVICES - {receipt.service for receipt in receipts}


def next_step(state: JobState, receipts: tuple[Receipt, ...]) -> Step:
    """Decide the next step of a job from its state and the receipts at hand."""
    if state is JobState.COMPLETE:
        return Step.NOTHING
    if state is JobState.KEY_DESTROYED:
        return Step.RECORD
    return Step.WAIT if missing_services(receipts) else Step.DESTROY_KEY


def irrecoverable_after(destroyed_on: date, backup_retention_days: int) -> date:
    """Return the day from which no backup holds the key any more."""
    return destroyed_on + timedelta(days=backup_retention_days)
