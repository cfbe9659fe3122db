"""The receivers of batches, by kind: an HTTPS endpoint that takes signed NDJSON, and a syslog server over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from tallystick_chassis.http.outbound import OutboundError
from tallystick_chassis.keystore import KeyStoreError

from tallystick_ledger.siem.domain import Kind, Outcome, Sent, judge
from tallystick_ledger.siem.secrets import Wrapped
from tallystick_ledger.siem.syslog import SyslogReceiver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.http.outbound import Outbound

    from tallystick_ledger.siem.domain import Batch, Destination
    from tallystick_ledger.siem.secrets import SecretBox

SEND_LIMIT_S: Final = 15.0
NDJSON: Final = "application/x-ndjson"


class Receiver(Protocol):
    """One kind of destination."""

    async def send(self, destination: Destination, batch: Batch) -> Sent:
        """Send a batch within ``SEND_LIMIT_S`` and say what became of it; raises nothing that a receiver causes."""


class HttpsReceiver:
    """POSTs NDJSON, one event a line, with the headers of Standard Webhooks."""

    def __init__(self, *, outbound: Outbound, box: SecretBox, clock: Clock) -> None:
        self._outbound = outbound
        self._box = box
        self._clock = clock

    async def send(self, destination: Destination, batch: Batch) -> Sent:
        """Send a batch; only a status of 2xx says that it was taken."""
        try:
            wrapped = Wrapped(destination.secret or b"", destination.epoch or "")
            secret = self._box.open(
                wrapped, tenant=destination.tenant, destination=destination.id, address=destination.address
            )
        except KeyStoreError:
            return Sent(Outcome.FAILED, "the secret cannot be opened")
        body = b"".join(msgspec.json.encode(event) + b"\n" for event in batch.events)
        timestamp_s = int(self._clock().timestamp())
        headers = {
            "Content-Type": NDJSON,
            "User-Agent": "Tallystick",
            "webhook-id": str(batch.id),
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": secret.sign(str(batch.id), timestamp_s, body),
        }
        if secret.authorization is not None:
            headers["Authorization"] = secret.authorization
        try:
            answer = await self._outbound.exchange(
                "POST",
                destination.address,
                headers=headers,
                content=body,
                time_limit_s=SEND_LIMIT_S,
                size_limit_bytes=None,
            )
        except OutboundError as error:
            return Sent(Outcome.FAILED, str(error))
        return judge(answer.status, answer.headers.get("retry-after"))


def receivers(*, outbound: Outbound, box: SecretBox, clock: Clock) -> Mapping[Kind, Receiver]:
    """Return the receiver of each kind."""
    return {
        Kind.HTTPS: HttpsReceiver(outbound=outbound, box=box, clock=clock),
        Kind.SYSLOG: SyslogReceiver(outbound=outbound, time_limit_s=SEND_LIMIT_S),
    }
