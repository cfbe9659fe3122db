"""Entry lines: their form, and that form against an RFC 8785 library."""

import json
import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from tallystick_tlog import (
    FIRST_PREV,
    MAX_INTEGER,
    MAX_LINE_BYTES,
    EntryError,
    build_line,
    format_recorded,
    is_origin,
    is_recorded,
    leaf_hash,
    parse_entry,
    parse_event,
)
from tallystick_tlog.samples import ORIGIN, RECORDED, event, log

keys = st.text(alphabet=string.printable, min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def line(event_bytes: bytes | None = None, **changes: object) -> bytes:
    built = build_line(event_bytes or event(1), ORIGIN, FIRST_PREV, RECORDED, 7, 3)
    for key, value in changes.items():
        start = built.rindex(b'"%b":' % key.encode()) + len(key) + 3
        end = min(at for at in (built.find(b",", start), built.find(b"}", start)) if at > 0)
        built = built[:start] + json.dumps(value, ensure_ascii=False).encode() + built[end:]
    return built


def test_a_line_is_written_as_the_design_shows() -> None:
    assert line() == (
        b'{"event":' + event(1) + b',"log":"tally.example/acme/compliance",'
        b'"prev":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",'
        b'"recorded":"2026-11-21T23:34:05.123456Z","seq":7,"source_seq":3,"v":1}'
    )


def test_a_line_is_read_back() -> None:
    lines, _ = log(3)
    entry = parse_entry(lines[2])
    assert (entry.seq, entry.source_seq, entry.log, entry.recorded) == (2, 3, ORIGIN, RECORDED)
    assert entry.prev == leaf_hash(lines[1])
    assert entry.event == parse_event(event(2))
    assert (entry.event.source, entry.event.aggregate) == ("assessment", "remediation")


@given(st.dictionaries(keys, values, max_size=5))
def test_canonical_form_is_that_of_an_rfc_8785_library(data: dict[str, object]) -> None:
    canonical = rfc8785.dumps(json.loads(event(1)) | {"data": data})
    assert parse_entry(line(canonical)).event.id == json.loads(canonical)["id"]
    loose = json.dumps(json.loads(canonical), ensure_ascii=False).encode()
    with pytest.raises(EntryError, match="canonical"):
        parse_event(loose)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":%s}' % (b"1" * 5000),
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        '{"ä":1}'.encode(),
        b'{"a":"\\u00e4"}',
        b'{"a":"\\/"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\x00"}',
        b"[]",
        b"null",
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_data_in_any_other_spelling_is_refused(data: bytes) -> None:
    damaged = event(1, data={}).replace(b'"data":{}', b'"data":' + data)
    with pytest.raises(EntryError) as caught:
        parse_event(damaged)
    assert caught.value.code == "format"


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": None},
        {"actor": ""},
        {"actor": 1},
        {"data": None},
        {"data": []},
        {"org_unit": 5},
        {"surprise": "x"},
        {"stream_version": -1},
        {"stream_version": True},
        {"stream_version": "1"},
        {"v": 0},
        {"type": "assessment"},
        {"type": ".x.y"},
        {"type": "x..y"},
    ],
)
def test_events_without_the_right_fields_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(EntryError):
        parse_event(event(1, **changes))


@pytest.mark.parametrize("field", ["causation", "correlation", "org_unit", "subject", "trace"])
def test_optional_fields_may_be_absent_or_texts(field: str) -> None:
    parse_event(event(1, **{field: None}))
    parse_event(event(1, **{field: "x"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": -1},
        {"seq": "1"},
        {"source_seq": 0},
        {"v": 2},
        {"v": True},
        {"log": "a b"},
        {"prev": "AAAA"},
        {"prev": "A" * 44},
        {"prev": "A" * 42 + "B="},
        {"recorded": "2026-11-21T23:34:05Z"},
        {"recorded": "2026-13-21T23:34:05.123456Z"},
        {"recorded": "2026-11-21T23:34:05.123456+"},
        {"prev": None},
    ],
)
def test_lines_with_a_wrong_ledger_part_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(EntryError):
        parse_entry(line(**changes))


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"1", b"null", b"{}", b"\xff", line() + b"\n", line() + b" "])
def test_what_is_not_an_entry_is_refused(damaged: bytes) -> None:
    with pytest.raises(EntryError):
        parse_entry(damaged)


def test_a_line_has_at_most_65535_bytes() -> None:
    room = MAX_LINE_BYTES - len(line(event(1, data={"x": ""})))
    assert len(line(event(1, data={"x": "x" * room}))) == MAX_LINE_BYTES
    with pytest.raises(EntryError) as built:
        line(event(1, data={"x": "x" * (room + 1)}))
    with pytest.raises(EntryError) as parsed:
        parse_entry(b"x" * (MAX_LINE_BYTES + 1))
    assert (built.value.code, parsed.value.code) == ("size", "size")


@pytest.mark.parametrize("origin", ["", "a b", 'a"b', "a\\b", "a+b", "ä", "x" * 256, "a\n"])
def test_a_log_name_is_plain(origin: str) -> None:
    assert not is_origin(origin)
    with pytest.raises(ValueError, match="log name"):
        build_line(event(1), origin, FIRST_PREV, RECORDED, 0, 1)


def test_a_previous_hash_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        build_line(event(1), ORIGIN, bytes(31), RECORDED, 0, 1)


@given(st.datetimes(timezones=st.just(UTC)))
def test_recorded_times_sort_as_texts(at: datetime) -> None:
    text = format_recorded(at)
    assert is_recorded(text)
    assert datetime.fromisoformat(text) == at


def test_recorded_times_are_utc() -> None:
    zone = timezone(timedelta(hours=2))
    assert format_recorded(datetime(2026, 1, 1, 1, tzinfo=zone)) == "2025-12-31T23:00:00.000000Z"
    with pytest.raises(ValueError, match="zone"):
        format_recorded(datetime(2026, 1, 1))  # noqa: DTZ001 (that is the case under test)


def test_every_flipped_bit_of_a_small_log_breaks_a_line_or_a_link_or_the_root() -> None:
    lines, tree = log(3)
    data = b"\n".join(lines)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            leaves = [leaf_hash(item) for item in bytes(damaged).split(b"\n")]
            assert type(tree)().extend(leaves).root() != tree.root()
