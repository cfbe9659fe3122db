"""A new key-encryption key of assessment: attempts go on, everything is read as before, and the erased stay erased."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from tallystick_assessment.app import SERVICE
from tallystick_assessment.cipher import CONTENT
from tallystick_chassis import rewrapping
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.keystore import EpochUnknown, KeyDestroyed, KeyStore
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_cli.stack.temporary import Databases
from tallystick_contracts.generated.assessment import ContentKeyRotated
from tallystick_contracts.generated.common import ErasureOutcome

REWRAP = SERVICE.commands["rewrap-keys"]


@pytest.fixture
def assessment_databases(migrated_databases: Databases) -> Databases:
    """Databases of the test's own: a rotation moves the keys of all tenants."""
    return migrated_databases


@pytest.mark.control("EV-24e")
@pytest.mark.control("EV-25h")
async def test_a_rotation_ends_no_attempt_and_brings_nobody_back(
    world: Any,
    make_exam: Callable[..., Any],
    right: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewrapping, "_SETTLE_S", 0.0)
    exam = await make_exam("north", "south", "south")
    busy, erased, late = exam.candidates
    attempt = (await busy.post("/attempts", {"assignment_id": exam.assignments[busy.ref]})).json()["attempt_id"]
    await busy.put(f"/attempts/{attempt}/answers/q1", {"response": "b"})
    for candidate in (erased, late):
        await exam.sit(candidate, right)
    await world.erase(erased, uuid4())

    keys = world.runtime.keys
    old = keys.epoch
    new = str(int(old) + 1)
    both = KeyEncryptionKeys({**keys._wrap._keys, new: SecretKey(b"n" * 32)})
    monkeypatch.setattr(keys._wrap, "_keys", both)
    capsys.readouterr()
    for _ in range(2):
        assert await REWRAP(world.runtime, [f"--previous={old}"]) == 0
    # The content's, and those of two candidates.
    assert capsys.readouterr().out.splitlines()[-2:] == ["3 1", "0 0"]
    async with world.runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, "assessment")) as tx:
        recorded = [event.data for event in await tx.load(f"content_key-{new}")]
    assert recorded == [ContentKeyRotated(epoch=new, previous_epoch=old)]

    # From here on the old key is gone.
    monkeypatch.setattr(keys._wrap, "_keys", KeyEncryptionKeys({new: both[new]}))
    assert (await busy.get(f"/attempts/{attempt}")).json()["responses"] == {"q1": "b"}
    assert (await busy.put(f"/attempts/{attempt}/answers/q3", {"response": False})).status_code == 200
    assert (await busy.post(f"/attempts/{attempt}/submission")).status_code == 201
    await world.work()
    (result,) = (await busy.get("/my/results")).json()["results"]
    assert result["points_milli"] == 1_000
    assert (await exam.author.get(f"/evaluations/{exam.evaluation_id}/versions/1")).json()["items"][0]["key"] == ["a"]
    alone = KeyStore(keys._database, KeyEncryptionKeys({new: both[new]}))
    await alone.data_key(world.aurora.id, CONTENT)  # which the running process remembers
    with pytest.raises(EpochUnknown):
        await KeyStore(keys._database, KeyEncryptionKeys({old: both[old]})).data_key(world.aurora.id, CONTENT)

    await world.erase(late, uuid4())
    given = (await world.events("assessment.erasure_receipt.given"))[-1].data.stores
    assert next(one.outcome for one in given if one.name == "data-key") is ErasureOutcome.ERASED
    for candidate in (erased, late):
        with pytest.raises(KeyDestroyed):
            await alone.data_key(world.aurora.id, candidate.ref, create=True)
