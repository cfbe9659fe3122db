"""Which month an audit log belongs to, and when it may close."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from tallystick_chassis.ids import TenantId
from tallystick_contracts.message import LogKind
from tallystick_ledger.logs.domain import (
    Log,
    LogId,
    Period,
    may_close,
    next_period,
    origin_of,
    period_of,
    period_start,
    period_to_write,
    recorded_at,
)

TENANT = TenantId(UUID(int=7))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def audit_log(period: str, *, closed: bool = False) -> Log:
    start = period_start(Period(period))
    return Log(
        TENANT,
        LogId(UUID(int=1)),
        LogKind.AUDIT,
        Period(period),
        "o",
        0,
        bytes(32),
        start,
        start,
        start if closed else None,
    )


def test_a_period_is_the_month_in_utc() -> None:
    assert period_of(datetime(2026, 12, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))) == "2026-11"


def test_december_is_followed_by_january() -> None:
    assert next_period(Period("2026-12")) == "2027-01"
    assert next_period(Period("2026-01")) == "2026-02"


def test_what_is_not_a_month_is_refused() -> None:
    with pytest.raises(ValueError, match="not a month"):
        period_start(Period("2026-13"))


def test_a_log_may_close_five_minutes_after_its_month_and_not_before() -> None:
    after = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)
    assert may_close(Period("2026-11"), after)
    assert not may_close(Period("2026-11"), after - timedelta(microseconds=1))


def test_events_go_to_the_month_in_which_they_are_recorded() -> None:
    assert period_to_write(None, NOON) == "2026-11"
    assert period_to_write(audit_log("2026-11"), NOON) == "2026-11"
    assert period_to_write(audit_log("2026-10"), NOON) == "2026-11"


def test_a_clock_that_goes_back_reopens_no_month() -> None:
    assert period_to_write(audit_log("2026-12"), NOON) == "2026-12"


def test_a_closed_log_is_never_written_again() -> None:
    assert period_to_write(audit_log("2026-11", closed=True), NOON) == "2026-12"


def test_recorded_never_goes_back() -> None:
    log = audit_log("2026-12")
    assert recorded_at(log, NOON) == log.last_recorded
    assert recorded_at(audit_log("2026-11"), NOON) == NOON


def test_the_origin_names_tenant_kind_and_period() -> None:
    assert origin_of("ledger.example", TENANT, None) == f"ledger.example/{TENANT}/compliance"
    assert origin_of("ledger.example", TENANT, Period("2026-11")) == f"ledger.example/{TENANT}/audit-2026-11"
