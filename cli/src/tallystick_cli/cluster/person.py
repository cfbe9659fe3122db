"""A person at a browser: signs in by magic link, keeps cookies, and sends a command again until it knows the outcome.

While services are killed under it, a request may end without an answer. The person repeats it with the same
Idempotency-Key, so that whether or not the first one was done, there is one effect.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import httpx
import msgspec
import pyotp

from tallystick_cli.cluster.mails import Mailbox
from tallystick_cli.cluster.steps import StepFailed

_AGAIN = frozenset({429, 500, 502, 503, 504})
_PATIENCE_S = 90.0
_LINK_PATIENCE_S = 15.0
_STEP_S = 30
_SENDING_S = 2.0
"""A code is good in its own half minute alone, so none is sent that might arrive after it."""
_CSRF_COOKIE = "__Host-tally_csrf"
_HALF = "second_factor_required"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """One 2xx answer to a command: its key, what was asked (method and route), by whom, status and correlation id."""

    key: str
    route: str
    who: str
    status: int
    correlation: str
    replayed: bool


class Journal(Protocol):
    """Where accepted commands are written down."""

    accepted: list[Accepted]

    def note(self, accepted: Accepted) -> None:
        """Write one down."""


@dataclass(slots=True)
class Traffic:
    """How many requests are under way at this moment, and how many had to be sent again."""

    in_flight: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class World:
    """What everybody shares: addresses of the services, the local authority, the mail, the journal, the traffic."""

    urls: Mapping[str, str]
    tls: ssl.SSLContext
    mailbox: Mailbox
    journal: Journal
    traffic: Traffic


class Authenticator:
    """The app on somebody's phone, and the recovery codes that they wrote down: each is given once."""

    def __init__(self) -> None:
        self._seed = ""
        self._recovery_codes: list[str] = []
        self._last_step = 0

    def enrol(self, seed: str, recovery_codes: Sequence[str]) -> None:
        """Take over what is shown of a new factor."""
        self._seed, self._recovery_codes, self._last_step = seed, list(recovery_codes), 0

    async def code(self) -> str:
        """Return the code of the moment; wait for the next where it was given already, or would arrive too late."""
        left_s = _STEP_S - time.time() % _STEP_S
        if left_s < _SENDING_S or self._is_given:
            await asyncio.sleep(left_s)
        self._last_step = int(time.time()) // _STEP_S
        return pyotp.TOTP(self._seed).generate_otp(self._last_step)

    async def proof(self) -> dict[str, str]:
        """Return what shows the factor: a code, or of somebody in a hurry a recovery code."""
        if self._is_given and self._recovery_codes:
            return {"method": "recovery", "code": self._recovery_codes.pop()}
        return {"method": "totp", "code": await self.code()}

    @property
    def _is_given(self) -> bool:
        return int(time.time()) // _STEP_S <= self._last_step


class Person:
    """One signed-in (or not) person of a tenant."""

    def __init__(self, world: World, *, tenant: str, email: str) -> None:
        self._world = world
        self.tenant = tenant
        self.email = email
        self.ref = ""
        self.was_stopped = False
        """Whether a session of one factor was refused what the person may do with two."""
        self.authenticator = Authenticator()
        self._http = httpx.AsyncClient(verify=world.tls, timeout=10.0, limits=httpx.Limits(max_connections=2))

    async def leave(self) -> None:
        """Close the browser."""
        await self._http.aclose()

    async def sign_in(self) -> None:
        """Ask for a link, wait for the mail, follow it; from the start again when anything on the way was lost."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            asked = await self._send(
                "POST", "identity", "/api/v1/auth/login", json={"tenant": self.tenant, "email": self.email}
            )
            _expect(asked, 202)
            try:
                link = await self._world.mailbox.next_link(self.email, timeout_s=_LINK_PATIENCE_S)
            except StepFailed:
                continue
            verified = await self._send(
                "POST", "identity", "/api/v1/auth/verify", json={"request_id": link.request_id, "token": link.token}
            )
            if verified.status_code == httpx.codes.OK:
                self.ref = verified.json()["person"]
                if await self._second_factor(verified.json()["second_factor"]):
                    return
                continue
            # The answer to a first try was lost: the link is used up. A new one is a mail away.
        msg = f"{self.email} could not sign in within {_PATIENCE_S:.0f} s"
        raise StepFailed(msg)

    async def _second_factor(self, need: str | None) -> bool:
        """Enrol an authenticator, or show a code of it, where that is asked for; ``False``: sign in again."""
        app = self.authenticator
        if need is None:
            return True
        refused = await self._send("GET", "identity", "/api/v1/identity/me")
        self.was_stopped = refused.status_code == httpx.codes.FORBIDDEN and refused.json()["code"] == _HALF
        if need == "enrol":
            started = await self._command("POST", "/api/v1/auth/factors", {"kind": "totp", "label": "phone"})
            factor = f"/api/v1/auth/factors/{started.json()['id']}" if started.is_success else ""
            pending = await self._send("GET", "identity", factor) if factor else started
            if not pending.is_success:
                return False
            app.enrol(pending.json()["seed"], pending.json()["recovery_codes"])
            shown = await self._command("POST", f"{factor}/confirm", {"code": await app.code()})
        else:
            shown = await self._command("POST", "/api/v1/auth/second-factor", await app.proof())
        # A code whose answer was lost is used up: the next sign-in brings another.
        return shown.is_success

    async def _command(self, method: str, path: str, body: object) -> httpx.Response:
        headers = {
            "X-CSRF-Token": self._http.cookies.get(_CSRF_COOKIE) or "",
            "Idempotency-Key": f"person-{uuid4().hex}",
        }
        return await self._send(method, "identity", path, headers=headers, json=body)

    async def get(self, service: str, path: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Read; the answer is whatever the service says, 404 included."""
        return await self._signed_in("GET", service, path, headers=dict(headers or {}))

    async def read(self, service: str, path: str) -> Any:  # noqa: ANN401 - JSON
        """Read and expect 200; return the JSON."""
        answer = await self.get(service, path)
        _expect(answer, 200)
        return answer.json()

    async def do(self, method: str, service: str, path: str, body: object = None, *, key: str | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send a command until it is accepted (2xx), note it in the journal, and return the JSON answer.

        Raises:
            StepFailed: if it is refused, or not accepted in time.
        """
        key = key or f"person-{uuid4().hex}"
        answer = await self._signed_in(method, service, path, headers={"Idempotency-Key": key}, json=body)
        _expect(answer, 200, 201, 202, 204)
        self._world.journal.note(
            Accepted(
                key=key,
                route=f"{method} {service} {path}",
                who=self.email,
                status=answer.status_code,
                correlation=answer.headers["X-Correlation-ID"],
                replayed=answer.headers.get("Idempotency-Replayed") == "true",
            )
        )
        return answer.json() if answer.content else None

    async def _signed_in(
        self, method: str, service: str, path: str, *, headers: dict[str, str], json: object = None
    ) -> httpx.Response:
        for _ in range(4):
            csrf = self._http.cookies.get(_CSRF_COOKIE)
            answer = await self._send(
                method, service, path, headers=headers | ({"X-CSRF-Token": csrf} if csrf else {}), json=json
            )
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return answer
            renewed = await self._send("POST", "identity", "/session/refresh")
            if not renewed.is_success:
                await self.sign_in()
        return answer

    def _cookies(self, path: str) -> dict[str, str]:
        """Return what identity set, for every service: to a browser all of them are one host, the edge's."""
        held = "; ".join(f"{one.name}={one.value}" for one in self._http.cookies.jar if path.startswith(one.path))
        return {"Cookie": held} if held else {}

    async def _send(
        self, method: str, service: str, path: str, *, headers: Mapping[str, str] | None = None, json: object = None
    ) -> httpx.Response:
        world = self._world
        deadline = time.monotonic() + _PATIENCE_S
        pause_s = 0.05
        problem = ""
        while time.monotonic() < deadline:
            world.traffic.in_flight += 1
            try:
                answer = await self._http.request(
                    method, world.urls[service] + path, headers={**(headers or {}), **self._cookies(path)}, json=json
                )
            except httpx.TransportError as error:
                problem = type(error).__name__
            else:
                if answer.status_code not in _AGAIN:
                    return answer
                problem = f"{answer.status_code} {answer.text[:200]}"
            finally:
                world.traffic.in_flight -= 1
            world.traffic.repeated += 1
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, 1.0)
        msg = f"{method} {service} {path}: no answer within {_PATIENCE_S:.0f} s ({problem})"
        raise StepFailed(msg)


def _expect(answer: httpx.Response, *statuses: int) -> None:
    if answer.status_code not in statuses:
        request = answer.request
        said = "" if answer.is_success else f": {answer.text[:400]}"
        msg = f"{request.method} {request.url.path} answered {answer.status_code}{said}"
        raise StepFailed(msg)
