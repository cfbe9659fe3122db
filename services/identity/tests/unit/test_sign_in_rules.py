"""The rules of a magic link, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.ids import TenantId
from tallystick_contracts.generated.identity import MagicLinkRejection
from tallystick_identity.sign_in.domain import LIFETIME, LinkId, LoginRequest, judge, parse_link_id, secret_hash

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOKEN, NONCE = secret_hash("token"), secret_hash("nonce")
REQUEST = LoginRequest(
    id=uuid4(), nonce_hash=NONCE, expires_at=NOW + LIFETIME, person="p_x", superseded_at=None, consumed_at=None
)


def _judged(
    request: LoginRequest | None = REQUEST,
    *,
    links: tuple[bytes, ...] = (TOKEN,),
    token: bytes = TOKEN,
    nonce: bytes = NONCE,
    now: datetime = NOW,
) -> MagicLinkRejection | None:
    return judge(request, links, token_hash=token, nonce_hash=nonce, now=now)


def test_the_right_link_in_the_right_browser_in_time_is_good() -> None:
    assert _judged() is None
    assert _judged(links=(secret_hash("other mail"), TOKEN)) is None


@pytest.mark.control("AC-06")
@pytest.mark.parametrize(
    ("reason", "judged"),
    [
        (MagicLinkRejection.UNKNOWN, _judged(None)),
        (MagicLinkRejection.UNKNOWN, _judged(token=secret_hash("guess"))),
        (MagicLinkRejection.UNKNOWN, _judged(replace(REQUEST, person=None))),
        (MagicLinkRejection.REPLAYED, _judged(replace(REQUEST, consumed_at=NOW))),
        (MagicLinkRejection.EXPIRED, _judged(replace(REQUEST, superseded_at=NOW))),
        (MagicLinkRejection.EXPIRED, _judged(now=NOW + LIFETIME)),
        (MagicLinkRejection.OTHER_BROWSER, _judged(nonce=secret_hash(""))),
    ],
)
def test_everything_else_is_refused_for_its_reason(
    reason: MagicLinkRejection, judged: MagicLinkRejection | None
) -> None:
    assert judged is reason


@pytest.mark.control("X-03")
def test_a_link_lives_for_ten_minutes() -> None:
    assert timedelta(minutes=10) == LIFETIME
    assert _judged(now=NOW + timedelta(minutes=9, seconds=59)) is None


@given(st.uuids(), st.uuids())
def test_a_link_id_is_read_back_as_it_was_written(tenant: UUID, request: UUID) -> None:
    link = LinkId(TenantId(tenant), request)
    assert parse_link_id(str(link)) == link


@given(st.text(max_size=64))
def test_anything_else_is_no_link_id(text: str) -> None:
    link = parse_link_id(text)
    assert link is None or str(link) == text
