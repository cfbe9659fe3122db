"""Only our own tokens, of the right type, for us, for now, under a key we already have."""

from __future__ import annotations

import base64
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.http.tokens import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    SERVICE_TYPE,
    SESSION_TYPE,
    TokenError,
    TokenSigner,
    TokenVerifier,
    public_jwks,
)

TENANT = uuid4()


@pytest.fixture
def verifier(jwks: bytes) -> TokenVerifier:
    return TokenVerifier(public_jwks(jwks), clock=utc_now)


def _issue(signer: TokenSigner) -> str:
    return signer.issue_session(
        person="p_x", tenant=TENANT, session="s1", role_ids=("r1",), token_version=3, amr=("link",), auth_time=1
    )


def _forge(
    jwks: bytes, *, header: dict | None = None, claims: dict | None = None, key: object = None, alg: str = ALGORITHM
) -> str:
    jwk = msgspec.json.decode(jwks)["keys"][0]
    now = int(utc_now().timestamp())
    payload = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "p_x", "tid": str(TENANT), "sid": "s1", "rids": [], "tv": 1,
        "amr": ["link"], "auth_time": now, "iat": now, "nbf": now, "exp": now + 60, **(claims or {}),
    }  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not None}
    return jws.serialize_compact(
        {"alg": alg, "typ": SESSION_TYPE, "kid": jwk["kid"], **(header or {})},
        msgspec.json.encode(payload),
        key or OKPKey.import_key(jwk),
        algorithms=[alg],
    )


@pytest.mark.control("EV-21b")
def test_a_session_token_carries_the_claims_of_the_allow_list_and_lives_five_minutes(signer, verifier):
    token = _issue(signer)
    claims = msgspec.json.decode(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert set(claims) == {
        "iss", "aud", "sub", "tid", "sid", "rids", "tv", "amr", "auth_time", "iat", "nbf", "exp"
    }  # fmt: skip
    assert claims["exp"] - claims["iat"] == 300
    assert verifier.verify_session(token).tid == TENANT


def test_what_a_forger_with_our_key_would_make_is_accepted_as_it_is(jwks, verifier):
    assert verifier.verify_session(_forge(jwks)).sub == "p_x"


@pytest.mark.control("X-05")
@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "someone"},
        {"aud": "someone"},
        {"aud": [AUDIENCE]},
        {"exp": 0},
        {"nbf": 2**40},
        {"tid": None},
        {"capabilities": ["everything"]},
        {"exp": "never"},
        {"tv": "1"},
    ],
)
def test_wrong_claims_are_refused(jwks, verifier, claims):
    with pytest.raises(TokenError):
        verifier.verify_session(_forge(jwks, claims=claims))


@pytest.mark.control("X-05")
@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": SERVICE_TYPE},
        {"kid": "other"},
        {"jku": "https://evil.test/jwks"},
        {"x5u": "https://evil.test/cert"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}},
    ],
)
def test_wrong_headers_are_refused(jwks, verifier, header):
    with pytest.raises(TokenError):
        verifier.verify_session(_forge(jwks, header=header))


@pytest.mark.control("X-05")
def test_other_algorithms_and_other_keys_are_refused(jwks, verifier, other_jwks):
    public = msgspec.json.decode(public_jwks(jwks))["keys"][0]["x"].encode()
    with pytest.raises(TokenError):
        verifier.verify_session(_forge(jwks, key=OctKey.import_key(public + b"=" * 32), alg="HS256"))
    with pytest.raises(TokenError):
        verifier.verify_session(_forge(jwks, key=OKPKey.import_key(msgspec.json.decode(other_jwks)["keys"][0])))
    head, body, _ = _forge(jwks).split(".")
    none = (
        base64.urlsafe_b64encode(msgspec.json.encode({"alg": "none", "typ": SESSION_TYPE, "kid": "k1"}))
        .rstrip(b"=")
        .decode()
    )
    for token in (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}", "", "a.b.c", "é.b.c", "x" * 10_000):
        with pytest.raises(TokenError):
            verifier.verify_session(token)


@pytest.fixture
def other_jwks() -> bytes:
    key = Ed25519PrivateKey.generate()

    def text(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": "k1",
        "x": text(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
        "d": text(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())),
    }
    return msgspec.json.encode({"keys": [jwk]})


@pytest.mark.control("X-05")
def test_a_token_changed_in_any_character_is_refused(signer, verifier):
    token = _issue(signer)
    for position in range(0, len(token), 7):
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        with pytest.raises(TokenError):
            verifier.verify_session(changed)


def test_a_token_ends_after_five_minutes(jwks, verifier):
    old = TokenSigner(jwks, clock=lambda: utc_now() - timedelta(minutes=5))
    with pytest.raises(TokenError):
        verifier.verify_session(_issue(old))


def test_a_service_token_names_its_service(signer, verifier):
    token = signer.issue_service("ledger")
    assert verifier.verify_service(token) == "ledger"
    with pytest.raises(TokenError):
        verifier.verify_session(token)
    with pytest.raises(TokenError):
        verifier.verify_service(_issue(signer))


def test_the_published_key_set_has_no_private_part(jwks):
    assert b'"d"' in jwks
    assert b'"d"' not in public_jwks(jwks)


@pytest.mark.parametrize("broken", [b"", b"{}", b'{"keys": []}', b'{"keys": [{"kid": "a", "x": "b"}]}'])
def test_a_signer_without_a_private_key_does_not_start(broken):
    with pytest.raises(ValueError, match="session key set"):
        TokenSigner(broken, clock=utc_now)


@pytest.mark.control("EV-24e")
def test_a_replaced_key_file_is_believed_at_once_and_what_it_lost_is_refused(jwks, other_jwks, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tallystick_chassis.http.key_file.time.monotonic", lambda: now[0])
    first, second = jwks, other_jwks.replace(b'"k1"', b'"k2"')

    def keys(*sets: bytes) -> bytes:
        return msgspec.json.encode({"keys": [key for one in sets for key in msgspec.json.decode(one)["keys"]]})

    file = tmp_path / "keys.json"

    def replace(content: bytes) -> None:
        beside = tmp_path / f"beside-{now[0]}"
        beside.write_bytes(content)
        beside.replace(file)

    file.write_bytes(first)
    verifier = TokenVerifier.from_file(file, clock=utc_now)
    signer = TokenSigner(first, clock=utc_now, file=KeyFile(file))
    old = _issue(signer)
    assert verifier.verify_session(old).sub == "p_x"
    replace(keys(second, first))
    now[0] += 1.0
    new = _issue(signer)
    assert msgspec.json.decode(base64.urlsafe_b64decode(new.split(".")[0] + "=="))["kid"] == "k2"
    assert verifier.verify_session(new)
    assert verifier.verify_session(old), "the key before is believed while its tokens last"
    replace(b"not a key set")
    now[0] += 1.0
    assert verifier.verify_session(old)
    assert _issue(signer), "a bad file changes nothing"
    replace(second)
    now[0] += 1.0
    with pytest.raises(TokenError):
        verifier.verify_session(old)
    assert verifier.verify_session(new)


@pytest.mark.control("X-05")
def test_a_token_that_was_good_is_refused_when_its_time_is_over(jwks):
    now = [utc_now()]
    verifier = TokenVerifier(public_jwks(jwks), clock=lambda: now[0])
    token = _issue(TokenSigner(jwks, clock=lambda: now[0]))
    assert verifier.verify_session(token)
    now[0] += timedelta(minutes=5)
    with pytest.raises(TokenError):
        verifier.verify_session(token)
