"""An event is built and read under the same rules; what breaks one cannot be built and is not read."""

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nacl.public import PrivateKey, SealedBox
from tallystick_contracts.envelope import MAX_EVENT_BYTES, decode_envelope, decode_event, encode_event, format_time
from tallystick_contracts.errors import (
    ContractError,
    EventTooLargeError,
    ForbiddenFieldError,
    MalformedEventError,
    NotAPseudonymError,
    NotCanonicalError,
    PublicEventError,
    UnknownEventTypeError,
    UnsealedPersonalDataError,
)
from tallystick_contracts.generated.assessment import (
    CredentialPublished,
    EvaluationVersionPublished,
    QuestionRef,
    RemediationProposed,
    ScoreRecorded,
    SubmissionFinalised,
)
from tallystick_contracts.generated.authz import AccessDenied
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.generated.identity import LoginFailed, UserCreated
from tallystick_contracts.message import EventData, PiiClass
from tallystick_contracts.pii import SEAL_OVERHEAD_BYTES
from tallystick_contracts.registry import REGISTRY, Registry

EVENT_ID = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
UNIT = UUID("11111111-2222-4333-8444-555555555555")
TIME = datetime(2026, 11, 21, 23, 34, 5, 123456, tzinfo=UTC)
BOX = base64.b64encode(bytes(49)).decode()
SEALED = Sealed(key_id="k_1", box=BOX)


def encode(data: EventData, **changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "id": EVENT_ID,
        "source": "assessment",
        "stream": "submission:1",
        "stream_version": 1,
        "time": TIME,
        "actor": "p_abc",
    }
    return encode_event(data, **(fields | changed))


def tampered(body: bytes, **changed: Any) -> bytes:
    return msgspec.json.Encoder(order="sorted").encode(json.loads(body) | changed)


def test_an_event_is_one_line_with_sorted_keys_and_absent_instead_of_null() -> None:
    assert encode(SubmissionFinalised(submission_id="s1", version=3), org_unit=UNIT) == (
        b'{"actor":"p_abc","data":{"submissionId":"s1","version":3},"id":"0f0e0d0c-0b0a-4908-8706-050403020100",'
        b'"org_unit":"11111111-2222-4333-8444-555555555555","source":"assessment","stream":"submission:1",'
        b'"stream_version":1,"time":"2026-11-21T23:34:05.123456Z","type":"assessment.submission.finalised","v":1}'
    )


def test_what_was_written_is_read_with_typed_data() -> None:
    data = EvaluationVersionPublished(slug="a", question_refs=(QuestionRef(question_id="q", version=1),))
    event = decode_event(encode(data, correlation="c1", causation="e1", subject="p_x"), tenant=UNIT, source_seq=9)
    assert event.data == data
    assert (event.type, event.aggregate, event.v) == ("assessment.evaluation.version_published", "evaluation", 1)
    assert (event.time, event.correlation, event.causation, event.subject) == (TIME, "c1", "e1", "p_x")
    assert (event.tenant, event.source_seq, event.org_unit) == (UNIT, 9, None)


def test_time_always_has_six_digits_and_is_utc() -> None:
    assert format_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    east = timezone(timedelta(hours=5, minutes=30))
    assert format_time(datetime(2026, 1, 2, 3, 4, 5, 1, tzinfo=east)) == "2026-01-01T21:34:05.000001Z"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(MalformedEventError, match="naive"):
        encode(SubmissionFinalised(), time=TIME.replace(tzinfo=None))


@pytest.mark.parametrize("value", [1.0, 0.5, float("nan"), "1", True, -1, 2**32, 2**53, 10**30])
def test_a_number_that_is_no_integer_in_range_is_refused(value: Any) -> None:
    with pytest.raises(MalformedEventError):
        encode(SubmissionFinalised(version=value))


@pytest.mark.parametrize("value", [float("nan"), 0.5, {"a": 0.5}])
def test_a_float_is_refused_even_where_an_optional_text_belongs(value: Any) -> None:
    with pytest.raises(ContractError):
        encode(ScoreRecorded(remediation_id=value))


@pytest.mark.parametrize("version", [0, -1, 2**53])
def test_a_stream_version_beyond_the_safe_integers_is_refused(version: int) -> None:
    with pytest.raises(MalformedEventError):
        encode(SubmissionFinalised(), stream_version=version)
    with pytest.raises(MalformedEventError):
        decode_event(tampered(encode(SubmissionFinalised()), stream_version=version))


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(MalformedEventError):
        encode(EvaluationVersionPublished(slug="\ud800"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("actor", "ada@example.org"),
        ("actor", ""),
        ("subject", "Ada Lovelace"),
        ("correlation", "two words"),
        ("correlation", "x" * 65),
        ("stream", "user:ada@example.org"),
        ("trace", "not hex"),
        ("source", "billing"),
        ("source", "ledger"),
    ],
)
def test_an_envelope_field_that_is_no_reference_is_refused(field: str, value: str) -> None:
    with pytest.raises(MalformedEventError):
        encode(SubmissionFinalised(), **{field: value})


@pytest.mark.parametrize("value", [SEALED.box, "ada@example.org", {"box": BOX, "key_id": "k"}, b"box", 7])
def test_a_personal_value_that_is_not_sealed_cannot_be_built(value: Any) -> None:
    with pytest.raises(UnsealedPersonalDataError, match="email is P2"):
        encode(UserCreated(email=value), source="identity")


@pytest.mark.parametrize(
    "box",
    [
        "",
        "ada@example.org",
        base64.b64encode(bytes(48)).decode(),  # a sealed box of nothing
        BOX.rstrip("="),
        BOX + "\n",
        BOX[:-3] + "B==",  # left-over bits: another way to write the same box
        base64.urlsafe_b64encode(b"\xff" * 49).decode(),
    ],
)
def test_a_box_that_cannot_be_a_sealed_box_is_refused(box: str) -> None:
    data = RemediationProposed(reason=Sealed(key_id="k_1", box=box))
    with pytest.raises(UnsealedPersonalDataError, match="reason is P2"):
        encode(data)
    honest = encode(RemediationProposed(reason=SEALED))
    with pytest.raises(UnsealedPersonalDataError):
        decode_event(tampered(honest, data={"reason": {"box": box, "keyId": "k_1"} if box else {"keyId": "k_1"}}))


@pytest.mark.parametrize("key_id", ["", "ada@example.org"])
def test_a_box_that_names_no_key_is_refused(key_id: str) -> None:
    with pytest.raises(UnsealedPersonalDataError):
        encode(RemediationProposed(reason=Sealed(key_id=key_id, box=BOX)))


def test_a_sealed_value_and_an_absent_one_are_accepted() -> None:
    assert decode_event(encode(LoginFailed(ip=SEALED), source="identity")).data == LoginFailed(ip=SEALED)


@pytest.mark.parametrize("person", ["ada@example.org", "Ada Lovelace", "p\u00e9", "x" * 129])
def test_a_pseudonym_that_cannot_be_one_is_refused_without_being_repeated(person: str) -> None:
    with pytest.raises(NotAPseudonymError, match="person is P1") as caught:
        encode(SubmissionFinalised(person=person))
    assert person not in str(caught.value)


def test_a_type_with_a_forbidden_field_cannot_be_built() -> None:
    entry = REGISTRY.by_struct(SubmissionFinalised)
    forbidden = dataclasses.replace(entry, pii=MappingProxyType({**entry.pii, "snapshot_hash": PiiClass.P3}))
    with pytest.raises(ForbiddenFieldError, match="snapshot_hash is P3"):
        encode(SubmissionFinalised(), registry=Registry([forbidden]))


def test_a_public_event_has_its_service_as_actor() -> None:
    data = CredentialPublished(reference="r", commitment="c")
    event = decode_event(encode(data, actor="assessment"))
    assert event.data == data


@pytest.mark.parametrize(
    "changed",
    [
        {"actor": "p_abc"},
        {"actor": "identity"},
        {"org_unit": UNIT},
        {"subject": "p_x"},
        {"correlation": "c1"},
        {"causation": "e1"},
        {"trace": "ab"},
    ],
    ids="+".join,
)
def test_a_public_event_that_links_to_anything_is_refused_in_building_and_in_reading(changed: dict[str, Any]) -> None:
    data = CredentialPublished(reference="r", commitment="c")
    with pytest.raises(PublicEventError):
        encode(data, **({"actor": "assessment"} | changed))
    with pytest.raises(PublicEventError):
        decode_event(tampered(encode(data, actor="assessment"), **changed))


def test_an_event_of_60000_bytes_fits_and_one_more_does_not() -> None:
    room = MAX_EVENT_BYTES - len(encode(EvaluationVersionPublished(slug="x"))) + 1
    assert len(encode(EvaluationVersionPublished(slug="x" * room))) == MAX_EVENT_BYTES
    with pytest.raises(EventTooLargeError):
        encode(EvaluationVersionPublished(slug="x" * (room + 1)))


def test_an_authz_event_belongs_to_the_service_that_emits_it() -> None:
    for source in ("identity", "ledger", "verification"):
        assert decode_event(encode(AccessDenied(route="GET /x"), source=source)).source == source


@pytest.mark.parametrize(
    "respelled",
    [
        lambda body: body.replace(b'"v":1}', b'"v": 1}'),
        lambda body: body + b"\n",
        lambda body: body.replace(b'{"actor":"p_abc",', b"{").replace(b'"v":1}', b'"v":1,"actor":"p_abc"}'),
        lambda body: body.replace(b'"actor"', b'"actor":"p_abc","actor"'),
        lambda body: body.replace(b'"source"', b'"org_unit":null,"source"'),
        lambda body: body.replace(b'"submissionId":"s1"', b'"submissionId":"\\u00731"'),
        lambda body: body.replace(b'"submissionId"', b'"person":"","submissionId"'),
        lambda body: body.replace(b'"submissionId":"s1","version":3', b'"version":3,"submissionId":"s1"'),
        lambda body: body.replace(b"0f0e0d0c-", b"0F0E0D0C-"),
    ],
)
def test_another_spelling_of_the_same_event_is_not_read(respelled: Any) -> None:
    body = encode(SubmissionFinalised(submission_id="s1", version=3))
    assert respelled(body) != body
    with pytest.raises(NotCanonicalError):
        decode_event(respelled(body))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"data": {"answer": "b"}}, MalformedEventError),
        ({"data": []}, MalformedEventError),
        ({"data": {"version": 1.5}}, MalformedEventError),
        ({"extra": 1}, MalformedEventError),
        ({"time": "2026-11-21T23:34:05Z"}, MalformedEventError),
        ({"time": "2026-02-30T23:34:05.123456Z"}, MalformedEventError),
        ({"time": "2026-11-21T23:34:05.123456+00:00"}, MalformedEventError),
        ({"time": "\u0662026-11-21T23:34:05.123456Z"}, MalformedEventError),
        ({"id": "1"}, MalformedEventError),
        ({"type": "assessment.submission.forgotten"}, UnknownEventTypeError),
        ({"v": 2}, UnknownEventTypeError),
    ],
)
def test_a_malformed_event_is_not_read(changed: dict[str, Any], error: type[ContractError]) -> None:
    with pytest.raises(error):
        decode_event(tampered(encode(SubmissionFinalised()), **changed))


@pytest.mark.parametrize("time", ["2026-11-21T23:34:05Z", "2026-02-30T23:34:05.123456Z", "now", ""])
def test_an_envelope_alone_names_a_real_moment_too(time: str) -> None:
    with pytest.raises(MalformedEventError, match="time"):
        decode_envelope(tampered(encode(SubmissionFinalised()), time=time))


def test_a_sealed_box_of_libsodium_is_accepted_and_its_overhead_is_the_one_we_check() -> None:
    box = SealedBox(PrivateKey.generate().public_key).encrypt(b"x")
    assert len(box) == SEAL_OVERHEAD_BYTES + 1
    encode(RemediationProposed(reason=Sealed(key_id="k_1", box=base64.b64encode(box).decode())))


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 59_000, b'{"actor":"\xc3"}'])
def test_bytes_that_are_no_event_are_not_read(body: bytes) -> None:
    with pytest.raises(MalformedEventError):
        decode_event(body)


def test_the_envelope_of_an_unknown_type_can_be_read() -> None:
    body = tampered(encode(SubmissionFinalised()), type="assessment.submission.archived", v=3)
    assert decode_envelope(body).type == "assessment.submission.archived"


class SubmissionFinalisedV2(EventData, frozen=True, kw_only=True):
    submission: str = ""


def test_an_older_version_is_read_as_the_newest() -> None:
    first = REGISTRY.by_struct(SubmissionFinalised)
    second = dataclasses.replace(
        first, version=2, struct=SubmissionFinalisedV2, pii=MappingProxyType({"submission": PiiClass.P1})
    )
    registry = Registry(
        [first, second],
        {SubmissionFinalised: lambda old: SubmissionFinalisedV2(submission=old.submission_id)},
    )
    event = decode_event(encode(SubmissionFinalised(submission_id="s1"), registry=registry), registry=registry)
    assert event.data == SubmissionFinalisedV2(submission="s1")
    assert (event.v, event.event_type.version) == (1, 2)
