"""A search's cursors: what was given out is read back, all else is refused and never an error of ours."""

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest
from tallystick_ledger.search.domain import CursorError, Order, Place, cursor_after, read_cursor

LOG = UUID(int=7)


def test_a_cursor_is_read_back() -> None:
    place = Place(datetime(2026, 11, 22, 13, 0, 0, 1, tzinfo=UTC), LOG, 41)
    assert read_cursor(cursor_after(place, Order.NEWEST), Order.NEWEST) == place


@pytest.mark.parametrize(
    "text",
    [
        f"newest|0001-01-01T00:00:00+14:00|{LOG}|1",
        f"newest|9999-12-31T23:59:59-14:00|{LOG}|1",
        f"newest|2026-11-22T13:00:00|{LOG}|1",
        f"newest|2026-11-22T13:00:00Z|{LOG}|{2**63}",
        f"oldest|2026-11-22T13:00:00Z|{LOG}|1",
    ],
)
def test_a_cursor_that_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        read_cursor(base64.urlsafe_b64encode(text.encode()).decode().rstrip("="), Order.NEWEST)
