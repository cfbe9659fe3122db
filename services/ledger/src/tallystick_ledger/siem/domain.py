"""A tenant's SIEM destinations, what a receiver's answer means, and when to try again."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tallystick_chassis.ids import TenantId

    from tallystick_ledger.siem.ocsf_bodies import Ocsf

MAX_DESTINATIONS: Final = 10
BATCH_ENTRIES: Final = 200
BATCH_BYTES: Final = 524_288
DEAD_IN_A_ROW: Final = 20
"""After so many refused entries without one that was taken, the receiver is at fault and not the entries."""
FIRST_BACK_OFF: Final = timedelta(seconds=1)
LONGEST_BACK_OFF: Final = timedelta(minutes=5)
SYSLOG_PORT: Final = 6514
"""RFC 5425's own."""


class Kind(enum.StrEnum):
    """How a destination is spoken to."""

    HTTPS = "https"
    SYSLOG = "syslog"


class AddressFault(enum.StrEnum):
    """Why nothing can be sent to an address; none quotes it."""

    NOT_AN_ADDRESS = "is not an address"
    SAYS_WHO_ASKS = "has a user or a fragment"
    UNKNOWN_KIND = "begins with neither https:// nor syslog+tls://"
    SYSLOG_PATH = "has a path, which syslog does not know"


class AddressError(ValueError):
    """The address is of no kind that we can send to."""

    def __init__(self, fault: AddressFault) -> None:
        super().__init__(fault.value)


class Place(NamedTuple):
    """Where a destination is. ``host`` is in lower case."""

    kind: Kind
    host: str
    port: int


class Destination(NamedTuple):
    """A destination that a worker has taken: what is needed to send to it.

    ``batch_entries`` is how many at most, ``attempts`` how often in a row it failed, ``refused_in_row`` how many single
    entries it refused without taking one. ``secret`` is wrapped under the key of ``epoch``; a syslog one has none.
    """

    tenant: TenantId
    id: UUID
    kind: Kind
    address: str
    secret: bytes | None
    epoch: str | None
    batch_entries: int
    attempts: int
    refused_in_row: int
    is_test: bool
    is_silent: bool
    """Nothing was sent for as long as a heartbeat may be away."""


class Batch(NamedTuple):
    """What is sent at once: the entries ``[start, until)`` of one log, then its checkpoint; or a heartbeat alone.

    ``id`` is the same for the same entries, so that a receiver knows a repetition. ``log`` is `None` for a heartbeat.
    """

    id: UUID
    log: UUID | None
    start: int
    until: int
    events: Sequence[Ocsf]

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return self.until - self.start


class Outcome(enum.Enum):
    """What became of a batch."""

    TAKEN = "taken"
    REFUSED = "refused"
    FAILED = "failed"


class Sent(NamedTuple):
    """The outcome, and in words that name no value what was wrong; ``status`` where HTTP answered."""

    outcome: Outcome
    fault: str | None = None
    status: int | None = None
    retry_after_s: float | None = None


TAKEN: Final = Sent(Outcome.TAKEN)

# Of the address, the credentials, the moment or the connection, and not of what was sent.
_NOT_ABOUT_ENTRIES: Final = frozenset(
    {*(401, 402, 403, 404, 405, 407, 408, 410, 411, 421, 423, 425, 426, 428, 429, 431, 451)}
)


def judge(status: int, retry_after: str | None = None) -> Sent:
    """Say what an HTTP status means for a batch: only what is about the entries themselves is a refusal."""
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own
        return Sent(Outcome.TAKEN, status=status)
    is_refusal = 400 <= status < 500 and status not in _NOT_ABOUT_ENTRIES  # noqa: PLR2004 - HTTP's own
    wait_s = float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdigit() else None
    return Sent(Outcome.REFUSED if is_refusal else Outcome.FAILED, f"answered {status}", status, wait_s)


def back_off_s(attempts: int, retry_after_s: float | None = None, *, share: float) -> float:
    """Return how long to wait after so many failures in a row: doubled each time, and bounded.

    ``share``, drawn from [0, 1), is the jitter: where in the wait's second half, so that not all come back at once.
    """
    longest_s = LONGEST_BACK_OFF.total_seconds()
    wait_s = min(FIRST_BACK_OFF.total_seconds() * (1 << min(attempts - 1, 20)), longest_s)
    wait_s *= 0.5 + share / 2
    return min(max(wait_s, retry_after_s or 0.0), longest_s)


def read_address(address: str) -> Place:
    """Read ``https://host/path`` or ``syslog+tls://host:6514``.

    Raises:
        AddressError: it is neither.
    """
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise AddressError(AddressFault.NOT_AN_ADDRESS) from None
    if not address.isascii() or not address.isprintable() or " " in address or not host:
        raise AddressError(AddressFault.NOT_AN_ADDRESS)
    if parts.username is not None or parts.password is not None or "#" in address:
        raise AddressError(AddressFault.SAYS_WHO_ASKS)
    if parts.scheme == "https":
        return Place(Kind.HTTPS, host, port or 443)
    if parts.scheme != "syslog+tls":
        raise AddressError(AddressFault.UNKNOWN_KIND)
    if parts.path not in {"", "/"} or parts.query:
        raise AddressError(AddressFault.SYSLOG_PATH)
    return Place(Kind.SYSLOG, host, port or SYSLOG_PORT)
