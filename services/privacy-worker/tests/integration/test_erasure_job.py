"""Keys and erasures against the real databases: crash anywhere, and the job goes on; twice is once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_contracts.generated.identity import TenantCreated, UserDeleted
from tallystick_contracts.generated.privacy import UserAnonymised
from tallystick_privacy_worker.erasure import store
from tallystick_privacy_worker.erasure.domain import ANSWERING_SERVICES, JobState
from tallystick_privacy_worker.keys.domain import POOL_BATCH, POOL_LOW

from .privacy_house import Privacy, privacy

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction

__all__ = ["privacy"]  # fixture


class CrashError(Exception):
    """The process ends here."""


async def test_a_new_tenant_gets_a_pool_of_keys_and_its_keys_of_the_day_once(privacy: Privacy) -> None:
    assert await privacy.free() == POOL_LOW
    await privacy.hear("identity", TenantCreated(slug="aurora", name="Aurora"))
    assert await privacy.free() == POOL_LOW
    today = privacy.database.clock().date()
    assert [event.type for event in await privacy.events(f"tenant-key:{today}")] == ["privacy.tenant_key.minted"]


async def test_the_pool_is_filled_again_before_it_runs_dry(privacy: Privacy) -> None:
    await privacy.person()
    assert await privacy.free() == POOL_LOW - 1 + POOL_BATCH
    await privacy.person()
    assert await privacy.free() == POOL_LOW - 2 + POOL_BATCH, "and not again for each person"


@pytest.mark.control("EV-25g")
@pytest.mark.control("EV-25h")
async def test_an_erasure_is_complete_when_all_have_answered_and_the_key_is_gone(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    assert await privacy.keys.reveal(privacy.tenant, key_id)
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *sorted(ANSWERING_SERVICES)[:-1])
    assert not await privacy.step(job_id), "one service has not answered"
    assert await privacy.keys.reveal(privacy.tenant, key_id), "and so the key is still there"
    await privacy.answer(job_id, person, max(ANSWERING_SERVICES))
    assert await privacy.step(job_id)
    with pytest.raises(KeyDestroyed):
        await privacy.keys.reveal(privacy.tenant, key_id)
    assert await privacy.step(job_id)
    assert not await privacy.step(job_id), "nothing is left to do"
    ordered, given, anonymised = await privacy.events(f"erasure:{job_id}")
    assert (ordered.type, given.type) == ("privacy.erasure.ordered", "privacy.erasure_receipt.given")
    record = anonymised.data
    assert isinstance(record, UserAnonymised)
    assert {receipt.store.split("/")[0] for receipt in record.receipts} == ANSWERING_SERVICES | {"privacy"}
    assert len(record.key_fingerprint) == 64
    assert record.irrecoverable_after > str(privacy.database.clock().date())


@pytest.mark.control("EV-25g")
async def test_a_deletion_heard_twice_makes_one_job_and_one_order(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.hear("identity", UserDeleted(person=person, key_id=key_id), event_id=job_id)
    await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    assert len(await privacy.events(f"erasure:{job_id}")) == 1


@pytest.mark.control("EV-25h")
@pytest.mark.parametrize("crash_at", ["after the key is destroyed", "before the commit", "in the record"])
async def test_a_job_that_crashes_at_any_step_goes_on_and_ends_once(
    privacy: Privacy, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *ANSWERING_SERVICES)
    if crash_at == "in the record":
        assert await privacy.step(job_id)
    crashing = {"after the key is destroyed": "add_receipts"}.get(crash_at, "set_state")

    async def crash(_tx: Transaction, *_: object, **__: object) -> None:
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(store, crashing, crash)
        with suppress(CrashError):
            await privacy.step(job_id)
    while await privacy.step(job_id):
        pass
    types = [event.type for event in await privacy.events(f"erasure:{job_id}")]
    assert types == ["privacy.erasure.ordered", "privacy.erasure_receipt.given", "privacy.user.anonymised"]
    with pytest.raises(KeyDestroyed):
        await privacy.keys.reveal(privacy.tenant, key_id)


@pytest.mark.control("EV-25h")
async def test_two_workers_at_the_same_job_take_each_step_once(privacy: Privacy) -> None:
    person, key_id = await privacy.person()
    job_id = await privacy.hear("identity", UserDeleted(person=person, key_id=key_id))
    await privacy.answer(job_id, person, *ANSWERING_SERVICES)
    outcomes = await asyncio.gather(*(privacy.step(job_id) for _ in range(6)))
    assert sum(outcomes) == 2
    async with privacy.database.transaction(privacy.scope) as tx:
        job = await store.get_job(tx, job_id)
    assert job is not None
    assert job.state is JobState.COMPLETE
    assert len(await privacy.events(f"erasure:{job_id}")) == 3
