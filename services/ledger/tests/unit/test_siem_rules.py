"""What a receiver's answer means, how long to wait, where may be sent to, and how messages are signed and framed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from tallystick_chassis.ids import TenantId
from tallystick_chassis.keystore import CiphertextInvalid, KeyWrap
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_ledger.siem.domain import AddressError, Kind, Outcome, Place, back_off_s, judge, read_address
from tallystick_ledger.siem.ocsf import heartbeat_event
from tallystick_ledger.siem.secrets import Secret, SecretBox
from tallystick_ledger.siem.syslog import frame

TENANT = TenantId(uuid4())


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_status_of_success_says_that_the_batch_was_taken(status: int) -> None:
    assert judge(status).outcome is Outcome.TAKEN


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_what_is_about_the_entries_is_a_refusal(status: int) -> None:
    assert judge(status).outcome is Outcome.REFUSED


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 408, 410, 421, 425, 429, 500, 502, 503, 504])
def test_what_is_about_address_credentials_or_moment_is_tried_again(status: int) -> None:
    assert judge(status).outcome is Outcome.FAILED


def test_a_receiver_may_ask_for_patience_but_not_for_ever() -> None:
    assert back_off_s(1, judge(503, "120").retry_after_s, share=0.5) == 120
    assert back_off_s(1, judge(503, "999999").retry_after_s, share=0.5) == 300
    assert judge(503, "Fri, 31 Dec 2027 23:59:59 GMT").retry_after_s is None


def test_waiting_doubles_with_jitter_up_to_five_minutes() -> None:
    for attempts, most in ((1, 1), (2, 2), (5, 16), (40, 300)):
        assert [back_off_s(attempts, share=share) for share in (0.0, 0.5, 1.0)] == [most / 2, most * 0.75, most]


def test_addresses_are_https_or_syslog_over_tls() -> None:
    assert read_address("https://SIEM.example/in?x=1") == Place(Kind.HTTPS, "siem.example", 443)
    assert read_address("syslog+tls://siem.example") == Place(Kind.SYSLOG, "siem.example", 6514)
    assert read_address("syslog+tls://[2001:db8::1]:7000/") == Place(Kind.SYSLOG, "2001:db8::1", 7000)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "siem.example",
        "http://siem.example/",
        "syslog://siem.example",
        "syslog+tls://",
        "syslog+tls://siem.example/path",
        "syslog+tls://siem.example?x",
        "https://user:word@siem.example/",
        "https://siem.example/#x",
        "https://siem.example:99999/",
        "https://sié.example/",
        "https://siem.example/a b",
        "https://siem.example/a\nHost: x",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(AddressError):
        read_address(address)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The vector of the reference libraries.
    secret = Secret(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert secret.shown == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert "MfKQ" not in repr(secret)


def test_a_stored_secret_opens_for_its_own_destination_and_address_alone() -> None:
    box = SecretBox(KeyWrap(KeyEncryptionKeys({"1": SecretKey(bytes(32))})))
    secret, destination = Secret.new("Splunk abc"), uuid4()
    about = {"tenant": TENANT, "destination": destination, "address": "https://siem.example/"}
    wrapped = box.close(secret, **about)  # type: ignore[arg-type]
    assert box.open(wrapped, **about) == secret  # type: ignore[arg-type]
    assert secret.key not in wrapped.secret
    for other in ({"address": "https://evil.example/"}, {"destination": uuid4()}, {"tenant": TenantId(uuid4())}):
        with pytest.raises(CiphertextInvalid):
            box.open(wrapped, **(about | other))  # type: ignore[arg-type]


def test_a_syslog_message_is_counted_in_octets_and_says_what_it_is() -> None:
    now = datetime(2026, 11, 22, 10, 0, 0, 250_000, UTC)
    event = heartbeat_event(UUID(int=1), [], tenant=TENANT, version="0.1.0", now=now, is_test=True)
    event["message"] = "Grüße"
    framed = frame(event)
    length, _, message = framed.partition(b" ")
    assert int(length) == len(message)
    origin = b'[origin software="Tallystick" swVersion="0.1.0"]'
    assert message.startswith(b"<110>1 2026-11-22T10:00:00.250Z - tallystick - OCSF-0-99 %s {" % origin)
    assert message.isascii()
