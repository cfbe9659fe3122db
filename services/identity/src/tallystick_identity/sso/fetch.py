"""Fetch JSON from a provider that a tenant named, by the chassis' one way out to such hosts."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import httpx
import msgspec
from tallystick_chassis.http.outbound import Outbound, OutboundError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

TIME_LIMIT_S: Final = 5.0
SIZE_LIMIT_BYTES: Final = 262_144


class Fault(enum.StrEnum):
    """Why a provider cannot be worked with; none names a host or a value. The chassis' own faults are among them."""

    NOT_AN_ADDRESS = "not an address"
    NOT_A_PLAIN_HTTPS_ADDRESS = "not a plain https address"
    NO_ANSWER_IN_TIME = "no answer in time"
    NO_CONNECTION = "no connection"
    ANSWER_IS_NO_JSON_OBJECT = "the answer is no JSON object"
    NOT_ANSWERED = "not answered 200"
    ANSWER_IS_ENCODED = "the answer is encoded"
    NOT_A_PUBLIC_HOST = "not a public host"
    ANSWER_IS_TOO_LONG = "the answer is too long"
    METADATA_IS_NOT_VALID = "the provider's metadata is not valid"
    NAMES_ANOTHER_ISSUER = "the provider names another issuer"
    CANNOT_DO_PKCE = "the provider cannot do PKCE with S256"
    METADATA_LACKS_AN_ADDRESS = "the provider's metadata lacks an address"
    PUBLISHES_NO_USABLE_KEY = "the provider publishes no usable key"


class FetchError(Exception):
    """The provider could not be asked, or its answer is of no use."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


class Fetcher:
    """Gets and posts, for JSON. ``internal_hosts`` may have private addresses, and loopback ones plain HTTP."""

    def __init__(self, *, internal_hosts: Collection[str] = (), ca_file: Path | None = None) -> None:
        self._outbound = Outbound(internal_hosts=internal_hosts, ca_file=ca_file)

    async def get(self, url: str, *, bearer: str | None = None) -> dict[str, object]:
        """Return the JSON object at ``url``.

        Raises:
            FetchError: for anything else.
        """
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return await self._ask("GET", url, headers, b"")

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        """Return the JSON object with which ``url`` answers a form.

        Raises:
            FetchError: for anything else.
        """
        return await self._ask("POST", url, headers, body)

    def check(self, url: str) -> None:
        """Refuse an address that would not be fetched whatever its host's addresses are.

        Raises:
            FetchError: if it is not https, except for a loopback host that is internal, or says who asks.
        """
        try:
            self._outbound.parse(url)
        except OutboundError as error:
            raise FetchError(Fault(error.fault.value)) from None

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        try:
            answer = await self._outbound.exchange(
                method,
                url,
                headers={"Accept": "application/json", **headers},
                content=body,
                time_limit_s=TIME_LIMIT_S,
                size_limit_bytes=SIZE_LIMIT_BYTES,
            )
        except OutboundError as error:
            raise FetchError(Fault(error.fault.value)) from None
        if answer.status != httpx.codes.OK:
            raise FetchError(Fault.NOT_ANSWERED)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError(Fault.ANSWER_IS_ENCODED)
        try:
            return msgspec.json.decode(answer.content, type=dict[str, object])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise FetchError(Fault.ANSWER_IS_NO_JSON_OBJECT) from None
