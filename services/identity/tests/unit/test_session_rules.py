"""The rules of a session and its refresh secrets, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.ids import TenantId, new_id, new_secret
from tallystick_identity.sessions.domain import (
    ABSOLUTE_LIMIT,
    GRACE,
    IDLE_LIMIT,
    RefreshToken,
    Session,
    Verdict,
    is_live,
    judge_refresh,
    parse_refresh_token,
    successor,
)
from tallystick_identity.sign_in.domain import secret_hash

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEWEST, PREVIOUS = secret_hash("newest"), secret_hash("previous")
SESSION = Session(
    id=uuid4(),
    person="p_x",
    session_ref="s_x",
    token_version=3,
    amr=("otp",),
    refresh_hash=NEWEST,
    previous_hash=PREVIOUS,
    refreshed_at=NOW,
    created_at=NOW,
    expires_at=NOW + ABSOLUTE_LIMIT,
    ended_at=None,
)


def _verdict(secret: bytes, *, version: int = 3, after: timedelta = timedelta(), session: Session = SESSION) -> Verdict:
    return judge_refresh(session, secret, token_version=version, now=NOW + after)


def test_the_newest_secret_rotates_and_the_one_before_repeats_for_ten_seconds() -> None:
    assert _verdict(NEWEST, after=timedelta(minutes=5)) is Verdict.ROTATE
    assert _verdict(PREVIOUS, after=GRACE - timedelta(microseconds=1)) is Verdict.REPEAT
    assert _verdict(PREVIOUS, after=GRACE) is Verdict.REUSED
    assert _verdict(secret_hash("older"), after=timedelta(seconds=1)) is Verdict.REUSED


def test_a_session_that_is_over_is_over_for_every_secret() -> None:
    for secret in (NEWEST, PREVIOUS, secret_hash("older")):
        assert _verdict(secret, after=IDLE_LIMIT) is Verdict.OVER
        assert _verdict(secret, version=4) is Verdict.OVER
        assert _verdict(secret, session=replace(SESSION, ended_at=NOW)) is Verdict.OVER


def test_twelve_hours_end_a_session_however_busy_it_is() -> None:
    busy = replace(SESSION, refreshed_at=NOW + ABSOLUTE_LIMIT - timedelta(minutes=1))
    assert is_live(busy, now=NOW + ABSOLUTE_LIMIT - timedelta(seconds=1))
    assert not is_live(busy, now=NOW + ABSOLUTE_LIMIT)


def test_a_successor_is_the_same_again_and_needs_both_the_secret_and_the_key() -> None:
    session, key, secret = new_id(), b"k" * 32, new_secret()
    following = successor(key, session, secret)
    assert following == successor(key, session, secret)
    others = {
        successor(b"x" * 32, session, secret),
        successor(key, new_id(), secret),
        successor(key, session, new_secret()),
    }
    assert len(others | {following, secret}) == 5
    assert len(following) == 43


@given(st.uuids(), st.uuids())
def test_a_refresh_token_is_read_back_as_it_was_written(tenant: UUID, session: UUID) -> None:
    token = RefreshToken(TenantId(tenant), session, "secret")
    assert parse_refresh_token(str(token)) == token


@given(st.text(max_size=80))
def test_anything_else_is_no_refresh_token(text: str) -> None:
    token = parse_refresh_token(text)
    assert token is None or text.endswith(token.secret)
