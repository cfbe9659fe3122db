"""Passwords and keys, made once from the kernel's randomness, each in a 0600 file of its own below `secrets/`."""

import base64
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tallystick_cli.stack import durable
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout

_KEY_BYTES = 32
_SESSION_KEYS = "session-keys.json"


def path_of(layout: Layout, name: str) -> Path:
    """Return where the secret `name` lies."""
    return layout.secrets / name


def ensure(layout: Layout, name: str, make: Callable[[], bytes]) -> bytes:
    """Return the secret `name`, made by `make` if it is not there; an existing one is never rewritten."""
    path = path_of(layout, name)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return durable.create_once(path, make())


def secret(layout: Layout, name: str) -> str:
    """Return the password `name`: 43 URL-safe characters of 256 random bits."""
    return ensure(layout, name, lambda: secrets.token_urlsafe(_KEY_BYTES).encode()).decode()


def random_key(layout: Layout, name: str) -> bytes:
    """Return the 32-byte key `name`, stored as standard base64."""
    return base64.b64decode(ensure(layout, name, lambda: base64.b64encode(secrets.token_bytes(_KEY_BYTES))))


def key_encryption_keys(layout: Layout, name: str) -> None:
    """Make the key-encryption keys `name` by epoch: JSON `{"1": "<32 bytes, base64>"}`."""
    ensure(
        layout,
        name,
        lambda: msgspec.json.encode({"1": base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}),
    )


def key_encryption_epochs(layout: Layout, name: str) -> list[str]:
    """Return the epochs of the key-encryption keys `name`, newest first."""
    key_encryption_keys(layout, name)
    return sorted(msgspec.json.decode(path_of(layout, name).read_bytes(), type=dict[str, str]), key=int, reverse=True)


def add_key_encryption_key(layout: Layout, name: str) -> str:
    """Add a key-encryption key of the next epoch to `name` and return its epoch.

    The older ones stay: what lies in backups is wrapped under them.
    """
    epoch = str(int(key_encryption_epochs(layout, name)[0]) + 1)
    keys = msgspec.json.decode(path_of(layout, name).read_bytes(), type=dict[str, str])
    keys[epoch] = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    durable.replace(path_of(layout, name), msgspec.json.encode(keys))
    return epoch


def session_keys(layout: Layout) -> Path:
    """Make identity's session-signing key (a private Ed25519 JWKS) and return the file with the public half.

    Source: RFC 8037 §2; the key id is the RFC 7638 thumbprint.
    """
    private = ensure(layout, _SESSION_KEYS, make_session_keys)
    public_file = layout.authority / "session-jwks.json"
    durable.replace(public_file, public_session_keys(private), mode=durable.PUBLIC)
    return public_file


def public_session_keys(private: bytes) -> bytes:
    """Return the public half of a JWKS."""
    keys = msgspec.json.decode(private)["keys"]
    return msgspec.json.encode({"keys": [{name: each[name] for name in each if name != "d"} for each in keys]})


def add_session_key(layout: Layout) -> tuple[str, str]:
    """Make a session-signing key known that does not sign yet; return its id and that of the one that does."""
    path = path_of(layout, _SESSION_KEYS)
    keys = with_new_session_key(ensure(layout, _SESSION_KEYS, make_session_keys))
    durable.replace(path, keys)
    session_keys(layout)
    old, new = session_key_ids(keys)
    return new, old


def sign_sessions_with(layout: Layout, key_id: str, *, distrust_others: bool) -> None:
    """Have a key that `add_session_key` made sign from now on; the others are believed while their tokens last.

    With `distrust_others` they are not, and whoever holds their tokens must refresh.
    """
    path = path_of(layout, _SESSION_KEYS)
    durable.replace(path, with_session_key_first(path.read_bytes(), key_id, alone=distrust_others))
    session_keys(layout)


def session_key_ids(private: bytes) -> list[str]:
    """Return the ids of a JWKS' keys; the first signs."""
    return [key["kid"] for key in msgspec.json.decode(private)["keys"]]


def with_new_session_key(private: bytes) -> bytes:
    """Return a private JWKS with a new key behind the signing one.

    Of older keys only the signing one stays: tokens last five minutes, rotations are rarer.
    """
    (fresh,) = msgspec.json.decode(make_session_keys())["keys"]
    return msgspec.json.encode({"keys": [msgspec.json.decode(private)["keys"][0], fresh]})


def with_session_key_first(private: bytes, key_id: str, *, alone: bool = False) -> bytes:
    """Return a private JWKS with this key first, so that it signs, and with no other if it is to be `alone`.

    Raises:
        StackError: it has no such key.
    """
    keys = sorted(msgspec.json.decode(private)["keys"], key=lambda key: key["kid"] != key_id)
    if keys[0]["kid"] != key_id:
        msg = f"there is no session key {key_id} any more: has another rotation begun?"
        raise StackError(msg)
    return msgspec.json.encode({"keys": keys[:1] if alone else keys})


def checkpoint_public_key(layout: Layout) -> str:
    """Make the ledger's checkpoint-signing seed and return the raw Ed25519 public key in standard base64."""
    return public_key_of(random_key(layout, "checkpoint-key"))


def public_key_of(seed: bytes) -> str:
    """Return the raw Ed25519 public key of a 32-byte seed, in standard base64."""
    return base64.b64encode(_raw_public(Ed25519PrivateKey.from_private_bytes(seed))).decode()


def client_hashes(layout: Layout, services: tuple[str, ...]) -> Path:
    """Write what identity knows of the services' client secrets: JSON client id → SHA-256 in hex."""
    hashed = {name: hashlib.sha256(secret(layout, f"client-{name}").encode()).hexdigest() for name in services}
    path = path_of(layout, "clients.json")
    durable.replace(path, msgspec.json.encode(hashed))
    return path


def make_session_keys() -> bytes:
    """Make a private JWKS of one Ed25519 key (RFC 8037 §2; the key id is the RFC 7638 thumbprint)."""
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    x = _base64url(_raw_public(key))
    thumbprint = hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x.encode()).digest()
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "Ed25519",
        "use": "sig",
        "kid": _base64url(thumbprint),
        "x": x,
        "d": _base64url(seed),
    }
    return msgspec.json.encode({"keys": [jwk]})


def _raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
