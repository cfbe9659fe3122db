"""The decision table: what a verifier is told of a certificate in each state."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tallystick_verification.credentials.domain import (
    Answer,
    Certificate,
    Evidence,
    ProofState,
    Status,
    answer_for,
    reference_of,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVIDENCE = Evidence(line=b"{}", proof=b"proof", log="ledger.test/t/compliance", entry=7, tree_size=9)
FIELDS = {"status", "credential_type", "issuer", "issued_at", "expires_at", "integrity"}


def certificate(**changes: object) -> Certificate:
    fields: dict[str, object] = {
        "credential_type": "Safety Officer",
        "issuer": "Acme",
        "issued_at": NOW - timedelta(days=30),
        "expires_at": None,
        "withdrawn_at": None,
        "proof_state": ProofState.VERIFIED,
        "evidence": EVIDENCE,
        "as_of": NOW - timedelta(seconds=2),
    }
    return Certificate(**{**fields, **changes})  # type: ignore[arg-type]


PENDING = {"proof_state": ProofState.PENDING, "evidence": None}
REFUSED = {"proof_state": ProofState.REFUSED, "evidence": None}
LATER, EARLIER = {"expires_at": NOW + timedelta(seconds=1)}, {"expires_at": NOW}
WITHDRAWN = {"withdrawn_at": NOW - timedelta(days=1)}


@pytest.mark.control("EV-64")
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.VALID),
        (PENDING, Status.VALID),
        (LATER, Status.VALID),
        (EARLIER, Status.CANNOT_BE_CONFIRMED),
        (REFUSED, Status.CANNOT_BE_CONFIRMED),
        (WITHDRAWN, Status.REVOKED),
        (WITHDRAWN | PENDING, Status.REVOKED),
        (WITHDRAWN | EARLIER, Status.REVOKED),
        (WITHDRAWN | REFUSED, Status.REVOKED),
        ({"as_of": None}, Status.VALID),
    ],
)
def test_each_state_has_its_answer(changes: dict[str, object], status: Status) -> None:
    assert answer_for(certificate(**changes), NOW).status is status


@pytest.mark.control("EV-64")
def test_what_nobody_issued_cannot_be_confirmed_and_says_nothing_else() -> None:
    assert answer_for(None, NOW) == Answer(status=Status.CANNOT_BE_CONFIRMED)


@pytest.mark.control("EV-64", "EV-22e")
@pytest.mark.parametrize("found", [None, certificate(), certificate(**WITHDRAWN), certificate(**REFUSED)])
def test_every_answer_has_exactly_the_same_fields(found: Certificate | None) -> None:
    document = msgspec.json.decode(msgspec.json.encode(answer_for(found, NOW)))
    assert set(document) == FIELDS
    if document["integrity"] is not None:
        assert set(document["integrity"]) == {"proof", "log", "entry", "tree_size", "as_of"}


def test_an_expired_certificate_still_shows_when_it_expired() -> None:
    answer = answer_for(certificate(**EARLIER), NOW)
    assert (answer.issuer, answer.expires_at) == ("Acme", NOW)


def test_a_certificate_that_the_ledger_contradicts_shows_none_of_its_claims() -> None:
    answer = answer_for(certificate(**REFUSED), NOW)
    assert (answer.credential_type, answer.issuer, answer.issued_at) == (None, None, None)
    assert answer.integrity is not None
    assert answer.integrity.proof is ProofState.REFUSED


def test_the_reference_of_a_token_is_its_hash_and_takes_any_text() -> None:
    assert reference_of("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
    assert len({reference_of(text) for text in ("", "a", "ä", "\udcff", "x" * 100_000)}) == 5
