"""Addresses, names, blind indexes, paths, cursors and client credentials, without a database."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.http.problems import Problem
from tallystick_chassis.ids import OrgUnitId, PersonRef, TenantId
from tallystick_identity.org_units.domain import child_path, is_path, missing_paths, parent_path
from tallystick_identity.people.domain import (
    InvalidEmailError,
    InvalidNameError,
    blind_index,
    display_name,
    email_address,
)
from tallystick_identity.people.imports import Row, check_rows
from tallystick_identity.people.queries import BadCursorError, cursor_of, read_cursor
from tallystick_identity.people.store import PersonRow
from tallystick_identity.sessions.service_clients import authenticated_client
from tallystick_identity.settings import ClientHashes
from tallystick_identity.tenants.domain import is_slug

TENANT = TenantId(uuid4())


def test_two_spellings_of_an_address_have_one_index() -> None:
    spellings = ("kim@people.example", " KIM@People.Example ", "ｋim@people.example")  # noqa: RUF001 - a full-width k
    assert len({blind_index(b"k" * 32, TENANT, one) for one in spellings}) == 1


def test_an_index_says_nothing_without_key_and_tenant() -> None:
    indexes = {
        blind_index(b"k" * 32, TENANT, "kim@people.example"),
        blind_index(b"x" * 32, TENANT, "kim@people.example"),
        blind_index(b"k" * 32, TenantId(uuid4()), "kim@people.example"),
        blind_index(b"k" * 32, TENANT, "tim@people.example"),
        hashlib.sha256(b"kim@people.example").digest(),
    }
    assert len(indexes) == 5


@pytest.mark.parametrize(
    "text", ["", "kim", "kim@", "@people.example", "kim@people", "a b@people.example", "a@b@c.example"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidEmailError):
        email_address(text)


@pytest.mark.parametrize("text", ["", "   ", "a\nb", "a\x00b", "x" * 121, "\u202eevil"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        display_name(text)


def test_an_import_names_every_bad_value_at_once() -> None:
    rows = [Row("north", "no", "", None), Row("a/b/", "kim@people.example", "Kim", None)]
    with pytest.raises(Problem) as refused:
        check_rows(rows)
    pointers = [error.pointer for error in refused.value.errors]
    assert pointers == ["/rows/0/email", "/rows/0/display_name", "/rows/1/org_unit"]


@pytest.mark.parametrize("slug", ["aurora", "a-1", "abc"])
def test_short_names(slug: str) -> None:
    assert is_slug(slug)


@pytest.mark.parametrize("text", ["", "a", "A", "1ab", "ab-", "a_b", "a" * 41, "aurora\n", "äb"])
def test_what_is_no_short_name(text: str) -> None:
    assert not is_slug(text)


def test_missing_units_are_created_from_the_top() -> None:
    assert missing_paths({"north/blue", "north/red", "south"}, {"", "south"}) == ["north", "north/blue", "north/red"]
    assert parent_path("north/blue") == "north"
    assert child_path("", "north") == "north"
    assert is_path("north/blue")
    assert not is_path("/north")


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_is_read_back_as_it_was_written(at: datetime, identifier: UUID) -> None:
    row = PersonRow(identifier, PersonRef("p_x"), OrgUnitId(uuid4()), "k", None, None, 1, at, None)
    assert read_cursor(cursor_of(row)) == (at, identifier)


@given(st.text(max_size=60))
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(BadCursorError):
        read_cursor(text)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_client_is_known_by_its_secret() -> None:
    hashes = {"ledger": hashlib.sha256(b"secret").hexdigest()}
    assert authenticated_client(_basic("ledger", "secret"), hashes) == "ledger"
    for header in ("", "Bearer x", "Basic ???", _basic("ledger", "Secret"), _basic("other", "secret"), _basic("", "")):
        assert authenticated_client(header, hashes) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": "short"}', '{"a": 1}'])
def test_a_clients_file_that_says_nothing_useful_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ClientHashes(text)
