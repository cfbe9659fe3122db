"""The page: the same answer in words, with how fresh it is and how to check it without us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tallystick_chassis.http.pages import Pages

from tallystick_verification.credentials.domain import ProofState, Status, answer_for

if TYPE_CHECKING:
    from datetime import datetime

    from litestar import Response

    from tallystick_verification.credentials.domain import Certificate

STALE_AFTER_S: Final = 60
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400

_PAGES = Pages("tallystick_verification")
_HEADINGS: Final = {
    Status.VALID: "Valid",
    Status.REVOKED: "Revoked",
    Status.CANNOT_BE_CONFIRMED: "Cannot be confirmed",
}


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the answer is, in words; ``is_stale`` when it must be said plainly."""

    moment: str
    iso: str
    age: str
    is_stale: bool


def render(certificate: Certificate | None, token: str, now: datetime) -> Response[str]:
    """Return the page for what the look-up found."""
    answer = answer_for(certificate, now)
    freshness = _freshness(answer.integrity.as_of if answer.integrity else None, now)
    return _PAGES.render(
        "certificate.html",
        answer=answer,
        state=answer.status.value,
        heading=_HEADINGS[answer.status],
        sentence=_sentence(certificate, answer.status, freshness),
        freshness=freshness,
        checked_at=_time_of_day(now, now),
        checked_at_iso=now.isoformat(timespec="seconds"),
        day=_day,
        today=_day(now),
        links=quote(token, safe=""),
    )


def _sentence(certificate: Certificate | None, status: Status, freshness: Freshness | None) -> str:
    if certificate is None:
        return "We know of no certificate under this link. It may have been copied incompletely, or not be genuine."
    if status is Status.VALID:
        if freshness is None or freshness.is_stale:
            return "This certificate was issued and had not been withdrawn when we last heard from its issuer."
        return "This certificate was issued and has not been withdrawn."
    if certificate.withdrawn_at is not None:
        return f"The issuer withdrew this certificate on {_day(certificate.withdrawn_at)}. Do not rely on it."
    if certificate.proof_state is ProofState.REFUSED:
        return "The ledger's own record of this certificate does not agree with ours. Do not rely on it."
    if certificate.expires_at is not None:
        return f"This certificate was issued, but it expired on {_day(certificate.expires_at)}."
    message = f"no sentence for {status}"
    raise AssertionError(message)


def _freshness(as_of: datetime | None, now: datetime) -> Freshness | None:
    if as_of is None:
        return None
    age_s = max(int((now - as_of).total_seconds()), 0)
    return Freshness(_time_of_day(as_of, now), as_of.isoformat(timespec="seconds"), _age(age_s), age_s > STALE_AFTER_S)


def _age(age_s: int) -> str:
    for unit_s, unit in ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute")):
        if age_s >= unit_s:
            count = age_s // unit_s
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{age_s} s ago"


def _time_of_day(time: datetime, now: datetime) -> str:
    clock = f"{time:%H:%M:%S} UTC"
    return clock if time.date() == now.date() else f"{_day(time)}, {clock}"


def _day(time: datetime) -> str:
    return f"{time.day} {time:%B %Y}"
