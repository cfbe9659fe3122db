"""The fast check of blocks never accepts what the entry-by-entry replay would not."""

import json
import subprocess
import sys
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tallystick_cli.audit.blocks import Block, cut_into_parts, read_blocks, read_part
from tallystick_cli.audit.fast import digest
from tallystick_cli.audit.replay import Replay
from tallystick_tlog import FIRST_PREV, MAX_LINE_BYTES, EntryError, build_line, leaf_hash, parse_entry
from tallystick_tlog.samples import ORIGIN, RECORDED, event, log

LINES = log(3)[0]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def is_sound(data: bytes) -> bool:
    try:
        return all(parse_entry(line) for line in data.removesuffix(b"\n").split(b"\n"))
    except EntryError:
        return False


@given(st.integers(0, len(LINES[0]) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_what_is_digested_is_sound_however_a_line_is_edited(at: int, put: bytes, gone: int) -> None:
    data = LINES[0][:at] + put + LINES[0][at + gone :] + b"\n"
    found = digest(data, ORIGIN)
    assert found is None or is_sound(data)


@given(values, st.sampled_from(["ascii", "utf8"]), st.booleans())
def test_what_is_digested_is_sound_whatever_the_data(value: object, encoding: str, ordered: bool) -> None:  # noqa: FBT001
    text = json.dumps({"x": value}, separators=(",", ":"), ensure_ascii=encoding == "ascii", sort_keys=ordered)
    old = LINES[0][LINES[0].index(b'"data":') : LINES[0].index(b',"id"')]
    data = LINES[0].replace(old, b'"data":' + text.encode("utf-8", "surrogatepass")) + b"\n"
    found = digest(data, ORIGIN)
    assert found is None or is_sound(data)


def test_sound_blocks_of_plain_text_are_digested() -> None:
    found = digest(b"".join(line + b"\n" for line in LINES), ORIGIN)
    assert found is not None
    assert found.tree == log(3)[1]


@pytest.mark.parametrize("data", [b"", b"\n", b"x", LINES[0], LINES[0] + b"\n\n", LINES[0] + b"\n" + LINES[2] + b"\n"])
def test_odd_blocks_are_not_digested(data: bytes) -> None:
    assert digest(data, ORIGIN) is None


@given(
    st.lists(st.binary(max_size=70_000).map(lambda data: data.replace(b"\n", b"")), max_size=30), st.binary(max_size=9)
)
def test_blocks_and_parts_hold_the_file_up_to_a_line_that_is_too_long(lines: list[bytes], tail: bytes) -> None:
    data = b"".join(line + b"\n" for line in lines) + tail
    blocks = list(read_blocks(BytesIO(data).read))
    assert data.startswith(b"".join(block.data for block in blocks))
    if not any(block.cut for block in blocks):
        assert b"".join(block.data for block in blocks) == data
    assert all(block.data.endswith(b"\n") for block in blocks[:-1])
    parts = cut_into_parts(BytesIO(data), len(data), 1000)
    assert parts[0].start == 0
    assert parts[-1].end == len(data)
    if not any(block.cut for block in blocks):
        assert b"".join(block.data for part in parts for block in read_part(BytesIO(data), part)) == data


def outcome(data: bytes, read_bytes: int, *, fast: bool) -> tuple[object, ...]:
    """Replay a file read in small pieces, with or without digests."""
    stream = BytesIO(data)
    replay = Replay(ORIGIN, frozenset({7}))
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr("tallystick_cli.audit.replay.digest", lambda _data, _log: None)
        for block in read_blocks(lambda _size: stream.read(read_bytes)):
            replay.add(block)
            if replay.finding is not None or replay.suspicion is not None:
                break
    return replay.finding, replay.suspicion, replay.tree, replay.roots


parts = st.tuples(
    st.sampled_from(["recorded", "source_seq", "prev", "seq", "log", "type", "nothing"]), st.integers(0, 29)
)


@given(change=parts, read_bytes=st.integers(400, 4000), shortened=st.booleans())
@example(change=("recorded", 5), read_bytes=400, shortened=False)
@example(change=("recorded", 6), read_bytes=400, shortened=False)
def test_the_fast_path_reports_what_the_slow_one_does_wherever_blocks_end(
    change: tuple[str, int],
    read_bytes: int,
    shortened: bool,  # noqa: FBT001
) -> None:
    what, at = change
    lines: list[bytes] = []
    prev = FIRST_PREV
    for seq in range(30):
        body = event(seq, **({"type": "assessment.score.recorded"} if (what, at) == ("type", seq) else {}))
        added: dict[str, Any] = {"log": ORIGIN, "prev": prev, "recorded": f"2026-11-21T23:34:05.{seq:06}Z", "seq": seq}
        added |= {"source_seq": seq + 1}
        if seq == at and what in added:
            added[what] = {
                "recorded": "2026-11-20T23:34:05.000000Z",
                "source_seq": seq + 2,
                "prev": bytes(31) + b"x",
                "seq": seq + 1,
                "log": "tally.example/other",
            }[what]
        lines.append(build_line(body, **added))
        prev = leaf_hash(lines[-1])
    if shortened:
        lines = lines[:at] + lines[at + 1 :]
    data = b"".join(line + b"\n" for line in lines)
    quick, slow = outcome(data, read_bytes, fast=True), outcome(data, read_bytes, fast=False)
    assert quick == slow
    if not shortened:
        assert (quick[:2] == (None, None)) == (what == "nothing" or change == ("recorded", 0))


@pytest.mark.parametrize("times", [("6", "5"), ("5", "x")])
def test_a_block_whose_times_go_back_or_are_none_is_not_digested(times: tuple[str, str]) -> None:
    prev, data = FIRST_PREV, b""
    for seq, second in enumerate(times):
        line = build_line(event(seq), ORIGIN, prev, f"2026-11-21T23:34:0{second}.000000Z", seq, seq + 1)
        prev, data = leaf_hash(line), data + line + b"\n"
    assert digest(data, ORIGIN) is None


@pytest.mark.parametrize("numbers", [(1, 3), (1, 1), (2, 1)])
def test_a_block_whose_source_leaves_a_gap_is_not_digested(numbers: tuple[int, int]) -> None:
    prev, data = FIRST_PREV, b""
    for seq, number in enumerate(numbers):
        line = build_line(event(seq), ORIGIN, prev, RECORDED, seq, number)
        prev, data = leaf_hash(line), data + line + b"\n"
    assert digest(data, ORIGIN) is None


def test_a_block_of_another_log_or_with_a_line_too_long_is_not_digested() -> None:
    assert digest(LINES[0] + b"\n", "tally.example/other") is None
    long = LINES[0].replace(b'"done"', b'"' + b"x" * MAX_LINE_BYTES + b'"') + b"\n"
    assert digest(long, ORIGIN) is None


def test_a_damaged_block_is_replayed_even_if_a_digest_is_claimed() -> None:
    replay = Replay(ORIGIN)
    second = digest(LINES[1] + b"\n", ORIGIN)
    replay.add(Block(LINES[1] + b"\n", None), second)
    assert replay.finding is not None
    assert replay.finding.code == "order"


def test_the_auditors_part_loads_no_server_and_no_service() -> None:
    code = "import sys, tallystick_cli.main; print([name for name in sys.modules if name.startswith('tallystick_')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "tallystick_tlog" in shown
    assert "tallystick_chassis" not in shown
    assert "tallystick_ledger" not in shown
