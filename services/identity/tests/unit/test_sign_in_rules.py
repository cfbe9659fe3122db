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
from tallystick_identity.sign_in.domain import (
    LIFETIME,
    MAX_CODE_TRIES,
    Binding,
    LinkId,
    LoginRequest,
    Mailed,
    Shown,
    code_hash,
    judge,
    parse_binding,
    parse_link_id,
    secret_hash,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOKEN, NONCE, OTHER = secret_hash("token"), secret_hash("nonce"), secret_hash("other")
KEY = bytes(32)
REQUEST = LoginRequest(
    id=uuid4(), nonce_hash=NONCE, expires_at=NOW + LIFETIME, person="p_x", superseded_at=None, consumed_at=None
)
CODE, WRONG = code_hash(KEY, REQUEST.id, "123456"), code_hash(KEY, REQUEST.id, "123457")
MAILS = (Mailed(secret_hash("other mail"), code_hash(KEY, REQUEST.id, "000000")), Mailed(TOKEN, CODE))
LINK_HERE, LINK_ELSEWHERE = Shown(NONCE, TOKEN), Shown(None, TOKEN)
CODE_HERE, BOTH_ELSEWHERE = Shown(NONCE, None, CODE), Shown(OTHER, TOKEN, CODE)


def _judged(
    shown: Shown = LINK_HERE,
    request: LoginRequest | None = REQUEST,
    *,
    mails: tuple[Mailed, ...] = MAILS,
    now: datetime = NOW,
) -> MagicLinkRejection | None:
    return judge(request, mails, shown, now=now)


@pytest.mark.control("X-02")
@pytest.mark.parametrize("shown", [LINK_HERE, CODE_HERE, BOTH_ELSEWHERE])
def test_the_link_or_the_code_where_it_was_asked_for_is_good_and_both_together_anywhere(shown: Shown) -> None:
    assert _judged(shown) is None


@pytest.mark.control("AC-06")
@pytest.mark.control("X-02")
@pytest.mark.parametrize(
    ("reason", "judged"),
    [
        (MagicLinkRejection.UNKNOWN, _judged(request=None)),
        (MagicLinkRejection.UNKNOWN, _judged(Shown(NONCE, OTHER))),
        (MagicLinkRejection.UNKNOWN, _judged(Shown(NONCE, OTHER, CODE))),
        (MagicLinkRejection.UNKNOWN, _judged(Shown(OTHER, None, CODE))),
        (MagicLinkRejection.UNKNOWN, _judged(Shown(None, None, CODE))),
        (MagicLinkRejection.UNKNOWN, _judged(Shown())),
        (MagicLinkRejection.UNKNOWN, _judged(mails=())),
        (MagicLinkRejection.OTHER_BROWSER, _judged(LINK_ELSEWHERE)),
        (MagicLinkRejection.OTHER_BROWSER, _judged(Shown(OTHER, TOKEN))),
        (MagicLinkRejection.WRONG_CODE, _judged(Shown(NONCE, None, WRONG))),
        (MagicLinkRejection.WRONG_CODE, _judged(Shown(None, TOKEN, WRONG))),
        (MagicLinkRejection.WRONG_CODE, _judged(CODE_HERE, replace(REQUEST, code_tries=MAX_CODE_TRIES))),
        (MagicLinkRejection.WRONG_CODE, _judged(CODE_HERE, mails=(Mailed(TOKEN),))),
        # An address that nobody has: no mail went out.
        (MagicLinkRejection.WRONG_CODE, _judged(CODE_HERE, replace(REQUEST, person=None), mails=())),
        *[
            (reason, _judged(shown, request, now=now))
            for shown in (LINK_HERE, LINK_ELSEWHERE, CODE_HERE, BOTH_ELSEWHERE)
            for reason, request, now in (
                (MagicLinkRejection.REPLAYED, replace(REQUEST, consumed_at=NOW), NOW),
                (MagicLinkRejection.EXPIRED, replace(REQUEST, superseded_at=NOW), NOW),
                (MagicLinkRejection.EXPIRED, REQUEST, NOW + LIFETIME),
            )
        ],
    ],
)
def test_everything_else_is_refused_for_its_reason(
    reason: MagicLinkRejection, judged: MagicLinkRejection | None
) -> None:
    assert judged is reason


@pytest.mark.control("X-02")
def test_when_codes_are_spent_the_link_where_it_was_asked_for_is_still_good() -> None:
    assert _judged(LINK_HERE, replace(REQUEST, code_tries=MAX_CODE_TRIES)) is None


@pytest.mark.control("X-03")
def test_a_link_lives_for_ten_minutes() -> None:
    assert timedelta(minutes=10) == LIFETIME
    assert _judged(now=NOW + timedelta(minutes=9, seconds=59)) is None


def test_a_code_is_good_for_its_request_alone_and_spaces_do_not_count() -> None:
    assert code_hash(KEY, REQUEST.id, " 123 456") == CODE
    assert code_hash(KEY, uuid4(), "123456") != CODE
    assert code_hash(bytes(31) + b"1", REQUEST.id, "123456") != CODE


@given(st.uuids(), st.uuids(), st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True))
def test_a_browsers_cookie_is_read_back_as_it_was_written(tenant: UUID, request: UUID, nonce: str) -> None:
    binding = Binding(LinkId(TenantId(tenant), request), nonce)
    assert parse_binding(str(binding)) == binding


@given(st.text(max_size=120))
def test_anything_else_is_no_browsers_cookie(text: str) -> None:
    binding = parse_binding(text)
    assert binding is None or str(binding) == text


@given(st.uuids(), st.uuids())
def test_a_link_id_is_read_back_as_it_was_written(tenant: UUID, request: UUID) -> None:
    link = LinkId(TenantId(tenant), request)
    assert parse_link_id(str(link)) == link


@given(st.text(max_size=64))
def test_anything_else_is_no_link_id(text: str) -> None:
    link = parse_link_id(text)
    assert link is None or str(link) == text
