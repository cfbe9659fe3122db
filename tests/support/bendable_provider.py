"""An OpenID provider that tests can bend: it follows the protocol until it is told what to get wrong.

One asyncio server on loopback, plain HTTP. It checks what a relying party owes it: the client's secret, PKCE, the
redirect address, and that a code comes once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jws
from joserfc.jwk import RSAKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

KEY = RSAKey.generate_key(2048, parameters={"kid": "k1", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, parameters={"kid": "k1", "use": "sig"})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass
class BendableProvider:
    """The provider; ``bend_claims`` and ``bend_header`` change every ID token, ``routes`` answers what it likes."""

    client_id: str = "tallystick"
    client_secret: str = "a secret of the client"
    subject: str = "subject-1"
    userinfo: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: list[RSAKey] = field(default_factory=lambda: [KEY])
    signing_key: Any = field(default_factory=lambda: KEY)
    header: dict[str, Any] = field(default_factory=dict)
    bend_claims: Callable[[dict[str, Any]], None] = lambda _: None
    bend_token: Callable[[str], str] = lambda token: token
    routes: dict[str, Callable[[], tuple[int, bytes, dict[str, str]]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    issuer: str = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.issuer = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def authorize(self, address: str) -> dict[str, str]:
        """Sign the subject in and return what the browser brings back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert query["response_type"] == "code"
        assert (query["client_id"], query["code_challenge_method"]) == (self.client_id, "S256")
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return {"state": query["state"], "code": code, "iss": self.issuer}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Sign claims as this provider does, unless it is bent."""
        full = {"alg": "RS256", "kid": "k1", "typ": "JWT"} | self.header | header
        full = {name: value for name, value in full.items() if value is not None}
        algorithm = full["alg"]
        if algorithm in {"none", "HS256"}:
            # By hand: the library refuses to sign like this, as it should.
            signed = ".".join(_text(json.dumps(part).encode()) for part in (full, claims))
            secret = self.signing_key
            mac = b"" if algorithm == "none" else hmac.digest(secret, signed.encode(), "sha256")
            return f"{signed}.{_text(mac)}"
        payload = json.dumps(claims).encode()
        registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jws.serialize_compact(full, payload, self.signing_key, registry=registry)

    def logout_token(self, **bent: Any) -> str:
        """Return a logout token for the subject, bent by claims (``None`` takes one out) and ``header_…``."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "sub": self.subject,
            "events": {LOGOUT_EVENT: {}},
        }
        header = {name.removeprefix("header_"): bent.pop(name) for name in list(bent) if name.startswith("header_")}
        claims = {name: value for name, value in (claims | bent).items() if value is not None}
        return self.sign(claims, **({"typ": "logout+jwt"} | header))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n", 1)[0].split(" ")
            headers = {
                name.lower(): value.strip()
                for name, value in (line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(f"{method} {path}")
            status, content, more = self._answer(path, headers, body.decode())
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in more.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: str) -> tuple[int, bytes, dict[str, str]]:
        if path in self.routes:
            return self.routes[path]()
        found: dict[str, Any]
        if path == "/.well-known/openid-configuration":
            found = {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            } | self.metadata
        elif path == "/jwks":
            found = {"keys": [key.as_dict(private=False) for key in self.keys]}
        elif path == "/userinfo":
            assert headers["authorization"] == "Bearer an-access-token"
            found = {"sub": self.subject} | self.userinfo
        else:
            return self._token(headers, {name: values[0] for name, values in parse_qs(body).items()})
        return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}

    def _token(self, headers: dict[str, str], form: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        begun = self.codes.pop(form.get("code", ""), None)
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if (
            begun is None
            or headers.get("authorization") != f"Basic {basic}"
            or form["redirect_uri"] != begun["redirect_uri"]
            or _text(hashlib.sha256(form["code_verifier"].encode()).digest()) != begun["code_challenge"]
        ):
            return 400, b'{"error": "invalid_grant"}', {}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": begun["nonce"],
            "sid": "provider-session-1",
        } | self.claims
        self.bend_claims(claims)
        token = self.bend_token(self.sign(claims))
        found = {"access_token": "an-access-token", "token_type": "Bearer", "expires_in": 60, "id_token": token}
        return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
