"""What a service remembers of sessions, for as long as it knows that nothing has changed.

Fresh means: an announcement of identity was heard within two seconds, it was made within two seconds, and every change
up to it is known. Only then is anything recalled. Whatever else happens (a gap, a restart, a clock that is wrong, a
frozen broker) leads to a question to identity, never to an old answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tallystick_chassis.http.epochs import FRESH_S, EpochScope, decode_announcement

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.http.introspection import Introspection

KEEP_S: Final = 300.0
"""After so long an answer is asked for anew, whatever is known: a bound on faults nobody has thought of."""
MAX_ANSWERS: Final = 10_000
_MAX_CHANGES: Final = 50_000
_REMEMBER_CHANGES_S: Final = KEEP_S + 60.0  # a question may be under way for a while

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in what was heard: an answer asked for at it holds unless something was heard after it."""

    generation: int
    change: int


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Introspection
    keys: tuple[_Key, ...]
    change: int
    until: float


class SessionMemory:
    """Answers of identity by token, and the changes that undo them."""

    def __init__(self, *, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._number: int | None = None
        self._heard_at = float("-inf")
        self._announced_at = float("-inf")
        self._generation = 0
        self._change = 0
        self._changes: dict[_Key, tuple[int, float]] = {}
        self._answers: dict[str, _Kept] = {}

    @property
    def silent_s(self) -> float:
        """How long nothing was heard."""
        return self._monotonic() - self._heard_at

    def seconds_since_heard(self) -> float | None:
        """Return how long nothing was heard, for the metric; ``None`` before anything was."""
        silent_s = self.silent_s
        return None if silent_s == float("inf") else silent_s

    @property
    def is_fresh(self) -> bool:
        """Whether what is remembered may be used."""
        return self.silent_s < FRESH_S and abs(self._clock().timestamp() - self._announced_at) < FRESH_S

    async def hear(self, _subject: str, payload: bytes) -> None:
        """Take in one message of identity's."""
        try:
            announcement = decode_announcement(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("epochs_malformed")
            self.forget()
            return
        if announcement.previous != self._number:
            self.forget()
        now = self._monotonic()
        for epoch in announcement.epochs:
            self._change += 1
            self._changes[(str(epoch.tenant), epoch.scope, epoch.subject)] = (self._change, now)
        if len(self._changes) > _MAX_CHANGES:
            self._prune(now)
        self._number = announcement.number
        self._heard_at = now
        self._announced_at = announcement.at

    def forget(self) -> None:
        """Forget every answer, also those that are being asked for now."""
        self._generation += 1
        self._answers.clear()
        self._changes.clear()

    def moment(self) -> Moment:
        """Return the present point, to be taken before a question is sent."""
        return Moment(self._generation, self._change)

    def keep(self, token: str, answer: Introspection, moment: Moment) -> None:
        """Remember an answer that was asked for at ``moment``."""
        if not answer.active or moment.generation != self._generation:
            return
        tenant = str(answer.tenant)
        keys = (
            (tenant, EpochScope.TENANT, tenant),
            (tenant, EpochScope.PERSON, answer.person or ""),
            (tenant, EpochScope.SESSION, answer.session or ""),
        )
        if len(self._answers) >= MAX_ANSWERS:
            self._answers.clear()
        self._answers[token] = _Kept(answer, keys, moment.change, self._monotonic() + KEEP_S)

    def recall(self, token: str) -> Introspection | None:
        """Return what identity would say of the token now; ``None`` where only identity can know."""
        if not self.is_fresh:
            return None
        kept = self._answers.get(token)
        if kept is None:
            return None
        changes = self._changes
        undone = any((heard := changes.get(key)) is not None and heard[0] > kept.change for key in kept.keys)
        ended = 0 < kept.answer.valid_until <= self._clock().timestamp()
        if undone or ended or kept.until <= self._monotonic():
            del self._answers[token]
            return None
        return kept.answer

    def _prune(self, now: float) -> None:
        self._changes = {key: heard for key, heard in self._changes.items() if now - heard[1] < _REMEMBER_CHANGES_S}
        if len(self._changes) > _MAX_CHANGES // 2:
            self.forget()
