"""The pure parts: which step an erasure takes next, and what a sealed box gives to whom."""

import base64
import json
from datetime import UTC, date, datetime
from itertools import permutations

import pytest
from nacl.public import PublicKey as BoxKey
from nacl.public import SealedBox
from tallystick_privacy_worker.erasure.domain import (
    ANSWERING_SERVICES,
    JobState,
    Receipt,
    Step,
    irrecoverable_after,
    missing_services,
    next_step,
)
from tallystick_privacy_worker.keys.domain import CannotOpenError, fingerprint, new_private_key, open_box, public_half

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def _receipts(*services: str) -> tuple[Receipt, ...]:
    return tuple(Receipt(service, "any", "ERASURE_OUTCOME_ERASED", 1, NOW) for service in services)


@pytest.mark.control("EV-25h")
def test_a_job_waits_until_every_service_has_answered_in_whatever_order() -> None:
    for order in permutations(sorted(ANSWERING_SERVICES)):
        for count in range(len(order)):
            answered = _receipts(*order[:count])
            assert next_step(JobState.ORDERED, answered) is Step.WAIT
            assert missing_services(answered) == set(order[count:])
        assert next_step(JobState.ORDERED, _receipts(*order)) is Step.DESTROY_KEY


@pytest.mark.control("EV-25h")
def test_two_stores_of_one_service_do_not_stand_in_for_another_service() -> None:
    assert next_step(JobState.ORDERED, _receipts("identity", "identity", "ledger", "assessment")) is Step.WAIT


def test_after_the_key_is_gone_only_the_record_is_left_and_then_nothing() -> None:
    assert next_step(JobState.KEY_DESTROYED, ()) is Step.RECORD
    assert next_step(JobState.COMPLETE, ()) is Step.NOTHING


def test_a_key_is_irrecoverable_when_the_last_backup_that_holds_it_has_expired() -> None:
    assert irrecoverable_after(date(2026, 11, 22), 35) == date(2026, 12, 27)


def _sealed(private_key: bytes, **plain: str) -> str:
    public = BoxKey(public_half("k", private_key).public_key)
    return base64.b64encode(SealedBox(public).encrypt(json.dumps(plain).encode())).decode()


def test_a_box_opens_with_its_key_for_its_event_and_field_only() -> None:
    key = new_private_key()
    box = _sealed(key, event="e1", field="email", subject="p_1", value="ada@example.org")
    assert open_box(key, box, event_id="e1", field="email") == "ada@example.org"
    for other_key, event_id, field in (
        (new_private_key(), "e1", "email"),
        (key, "e2", "email"),
        (key, "e1", "name"),
    ):
        with pytest.raises(CannotOpenError):
            open_box(other_key, box, event_id=event_id, field=field)
    for broken in (box[:-8], "", "not base64!", base64.b64encode(b"x" * 60).decode()):
        with pytest.raises(CannotOpenError):
            open_box(key, broken, event_id="e1", field="email")


def test_the_fingerprint_is_the_sha256_of_the_public_key() -> None:
    assert fingerprint(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
