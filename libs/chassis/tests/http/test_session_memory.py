"""What is remembered of a session is used while it is known to be true, and never a moment longer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.http.epochs import (
    FRESH_S,
    Announcement,
    Epoch,
    EpochScope,
    encode_announcement,
)
from tallystick_chassis.http.introspection import INACTIVE, Introspection, RemoteAuthenticator
from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.http.session_memory import KEEP_S, SessionMemory

TENANT, OTHER = uuid4(), uuid4()
BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Time:
    """Two clocks that go together."""

    passed_s: float = 0.0

    def clock(self) -> datetime:
        return BEGIN + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return 1_000.0 + self.passed_s


@dataclass
class Identity:
    """Identity's part: sessions that live or not, and announcements that may be lost."""

    time: Time
    memory: SessionMemory
    live: set[str] = field(default_factory=set)
    number: int = 0
    asked: int = 0
    down: bool = False

    async def announce(self, *epochs: Epoch, age_s: float = 0.0, lost: bool = False) -> None:
        previous, self.number = self.number, self.number + len(epochs)
        at = self.time.clock().timestamp() - age_s
        if not lost:
            message = encode_announcement(Announcement(at, previous, self.number, epochs))
            await self.memory.hear("epoch.identity", message)

    async def end(self, session: str, *, lost: bool = False) -> None:
        self.live.discard(session)
        await self.announce(Epoch(TENANT, EpochScope.SESSION, session), lost=lost)

    async def call(self, *_: object, body: object, **__: object) -> Introspection:
        self.asked += 1
        if self.down:
            raise ServiceCallError(type(self).__name__, None)
        token = body.token  # type: ignore[attr-defined]
        return known(token) if token in self.live else INACTIVE


def known(session: str, *, tenant: UUID = TENANT, valid_until: float = 0.0) -> Introspection:
    return Introspection(active=True, tenant=tenant, person=f"p_{session}", session=session, valid_until=valid_until)


@pytest.fixture
def identity() -> Identity:
    time = Time()
    return Identity(time, SessionMemory(clock=time.clock, monotonic=time.monotonic))


@pytest.fixture
def service(identity: Identity) -> RemoteAuthenticator:
    return RemoteAuthenticator(identity, identity.memory)  # type: ignore[arg-type] # it has the one method that is used


async def test_a_fresh_service_asks_once_and_then_checks_by_itself(identity, service):
    identity.live = {"s"}
    await identity.announce()
    for _ in range(5):
        assert (await service.authenticate("s")).active
    assert identity.asked == 1
    identity.down = True
    assert (await service.authenticate("s")).active, "identity is not needed for what is known"


@pytest.mark.control("AC-05")
async def test_a_revocation_that_was_heard_is_obeyed_at_once(identity, service):
    identity.live = {"s", "t"}
    await identity.announce()
    assert (await service.authenticate("s")).active
    assert (await service.authenticate("t")).active
    await identity.end("s")
    assert not (await service.authenticate("s")).active
    asked = identity.asked
    assert (await service.authenticate("t")).active
    assert identity.asked == asked, "others are not asked about again"


@pytest.mark.parametrize(
    "epoch",
    [
        Epoch(TENANT, EpochScope.SESSION, "s"),
        Epoch(TENANT, EpochScope.PERSON, "p_s"),
        Epoch(TENANT, EpochScope.TENANT, str(TENANT)),
    ],
    ids=["session", "person", "tenant"],
)
async def test_a_change_of_the_session_its_person_or_its_tenant_leads_to_a_question(identity, service, epoch):
    identity.live = {"s"}
    await identity.announce()
    await service.authenticate("s")
    await identity.announce(epoch)
    await service.authenticate("s")
    assert identity.asked == 2
    await identity.announce(Epoch(OTHER, epoch.scope, epoch.subject))
    await service.authenticate("s")
    assert identity.asked == 2, "another tenant's change touches nobody here"


@pytest.mark.control("AC-05")
async def test_a_service_that_has_heard_nothing_for_two_seconds_knows_that_it_is_stale(identity, service):
    identity.live = {"s"}
    await identity.announce()
    await service.authenticate("s")
    identity.time.passed_s += FRESH_S - 0.01
    await service.authenticate("s")
    assert identity.asked == 1
    identity.time.passed_s += 0.01
    await identity.end("s", lost=True)
    assert not (await service.authenticate("s")).active
    identity.down = True
    with pytest.raises(Unavailable):
        await service.authenticate("s")


@pytest.mark.control("AC-05")
async def test_an_announcement_that_a_frozen_broker_delivers_late_makes_nothing_fresh(identity, service):
    identity.live = {"s"}
    await identity.announce()
    await service.authenticate("s")
    identity.time.passed_s += 30
    await identity.announce(age_s=29)
    assert not identity.memory.is_fresh
    await identity.end("s", lost=True)
    assert not (await service.authenticate("s")).active


async def test_an_announcement_from_a_clock_that_is_ahead_makes_nothing_fresh(identity):
    await identity.announce(age_s=-10)
    assert not identity.memory.is_fresh


@pytest.mark.control("AC-05")
async def test_after_a_missed_announcement_everything_is_asked_anew(identity, service):
    identity.live = {"s"}
    await identity.announce()
    await service.authenticate("s")
    await identity.end("s", lost=True)
    await identity.announce()
    assert identity.memory.is_fresh
    assert not (await service.authenticate("s")).active


async def test_a_count_that_went_back_or_noise_on_the_subject_leads_to_questions(identity, service):
    identity.live = {"s"}
    identity.number = 40
    await identity.announce()
    await service.authenticate("s")
    identity.number = 12  # identity's database was restored
    await identity.announce()
    await service.authenticate("s")
    assert identity.asked == 2
    await identity.memory.hear("epoch.identity", b"\xff not JSON")
    await service.authenticate("s")
    assert identity.asked == 3


@pytest.mark.control("AC-05")
@pytest.mark.parametrize("missed", [False, True], ids=["heard", "missed"])
async def test_an_answer_that_a_revocation_overtook_is_used_once_at_most_and_not_kept(identity, service, missed):
    identity.live = {"s"}
    await identity.announce()
    answer_now = asyncio.Event()
    ask = identity.call

    async def slow(*arguments: object, **named: object) -> Introspection:
        answer = await ask(*arguments, **named)  # read before the revocation …
        await answer_now.wait()
        return answer  # … and delivered after it

    identity.call = slow  # type: ignore[method-assign]
    asking = asyncio.create_task(service.authenticate("s"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await identity.end("s", lost=missed)
    await identity.announce()
    answer_now.set()
    await asking
    assert not (await service.authenticate("s")).active


async def test_an_answer_ends_with_the_clock_where_identity_says_so_and_after_five_minutes_in_any_case(identity):
    memory = identity.memory
    await identity.announce()
    memory.keep("a", known("a", valid_until=BEGIN.timestamp() + 1), memory.moment())
    memory.keep("b", known("b"), memory.moment())
    assert memory.recall("a")
    identity.time.passed_s += 1
    assert memory.recall("a") is None
    assert memory.recall("b")
    identity.time.passed_s += KEEP_S
    await identity.announce()
    assert memory.recall("b") is None


async def test_a_step_up_route_asks_whatever_is_remembered(identity, service):
    identity.live = {"s"}
    await identity.announce()
    await service.authenticate("s")
    await service.authenticate("s", ask=True)
    assert identity.asked == 2
    identity.down = True
    with pytest.raises(Unavailable):
        await service.authenticate("s", ask=True)


_SESSIONS = st.sampled_from(["a", "b", "c"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), _SESSIONS),
        st.tuples(st.just("end"), _SESSIONS),
        st.tuples(st.just("end, unheard"), _SESSIONS),
        st.tuples(st.just("ask"), _SESSIONS),
        st.tuples(st.just("announce"), st.just("")),
        st.tuples(st.just("lose"), st.just("")),
        st.tuples(st.just("wait"), st.just("")),
    ),
    max_size=60,
)


@pytest.mark.control("AC-05")
@given(_STEPS)
def test_never_fresh_and_wrong(steps):
    """Whatever is lost: two seconds after a revocation nobody is let in, and who heard of it never lets them in."""

    async def play() -> None:
        time = Time()
        identity = Identity(time, SessionMemory(clock=time.clock, monotonic=time.monotonic))
        service = RemoteAuthenticator(identity, identity.memory)  # type: ignore[arg-type]
        unheard: dict[str, float] = {}  # sessions whose end was lost, and when
        for step, session in steps:
            time.passed_s += 0.05
            if step == "open":
                identity.live.add(session)
                unheard.pop(session, None)
            elif step.startswith("end"):
                lost = step != "end"
                was_live = session in identity.live
                await identity.end(session, lost=lost)
                if lost and was_live:
                    unheard[session] = time.passed_s
                elif not lost:
                    unheard.clear()  # whoever hears this one notices the gap
            elif step == "announce":
                await identity.announce()
                unheard.clear()
            elif step == "lose":
                await identity.announce(lost=True)
            elif step == "wait":
                time.passed_s += FRESH_S / 2
            else:
                believed = (await service.authenticate(session)).active
                lately = time.passed_s - unheard.get(session, float("-inf")) < FRESH_S
                assert believed == (session in identity.live) or (believed and lately)

    asyncio.run(play())
