"""Does an installation work from where its pods are? Asked over TLS, trusting the installation's authority alone."""

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

_TIMEOUT_S = 10.0
_PAUSE_S = 0.5
_STRANGERS = {
    "identity": ("/api/v1/identity/people", http.client.UNAUTHORIZED),
    "assessment": ("/api/v1/assessment/evaluations", http.client.UNAUTHORIZED),
    "ledger": ("/api/v1/ledger/logs", http.client.UNAUTHORIZED),
    "privacy-worker": ("/api/v1/compliance/erasures", http.client.UNAUTHORIZED),
    "verification": ("/certs/verify/made-up-by-helm-test", http.client.OK),
}
"""What a stranger asks of each service, and what it must answer."""
_NO_CERTIFICATE = "cannot_be_confirmed"


def wrong_with(urls: Mapping[str, str], ca_file: Path, session_keys: Path, *, timeout_s: float) -> list[str]:
    """Return what is wrong, a sentence each; empty when all is well. `urls` has each service's base.

    A service that does not answer is asked again for up to `timeout_s`, in all: where network policies are enforced, a
    new pod's connections are refused until its address is known at the other end. Whatever is answered is taken as it
    is, a certificate that cannot be trusted too.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + timeout_s
    wrong: list[str] = []
    for service, url in urls.items():
        wrong += _patiently_wrong_with(service, url, context, session_keys, deadline)
    return wrong


def _patiently_wrong_with(
    service: str, url: str, context: ssl.SSLContext, session_keys: Path, deadline: float
) -> list[str]:
    while True:
        try:
            return list(_wrong_with(service, url, context, session_keys))
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ssl.SSLCertVerificationError) or time.monotonic() + _PAUSE_S > deadline:
                return [f"{service} does not answer at {url} ({type(error).__name__})"]
        time.sleep(_PAUSE_S)


def _wrong_with(service: str, url: str, context: ssl.SSLContext, session_keys: Path) -> Iterator[str]:
    status, body = _get(url, "/ready", context)
    if status != http.client.OK:
        yield f"{service} is not ready (HTTP {status}): {body[:200].decode(errors='replace')}"
        return
    path, expected = _STRANGERS[service]
    status, body = _get(url, path, context)
    if status != expected:
        yield f"{service} answers a stranger's GET {path} with HTTP {status} instead of {expected}"
    elif service == "verification" and msgspec.json.decode(body)["status"] != _NO_CERTIFICATE:
        yield f"verification does not say of a made-up certificate that it {_NO_CERTIFICATE.replace('_', ' ')}"
    if service == "identity":
        _, body = _get(url, "/.well-known/jwks.json", context)
        if _key_ids(body) != _key_ids(session_keys.read_bytes()):
            yield "identity signs with other session keys than the services trust: restart it, or see the ConfigMap"


def _get(url: str, path: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _key_ids(keys: bytes) -> set[str]:
    return {key["kid"] for key in msgspec.json.decode(keys)["keys"]}
