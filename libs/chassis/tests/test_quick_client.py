"""Headers are read as the NATS client reads them, only quicker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from tallystick_chassis.quick_client import QuickClient

_PIECES = st.sampled_from([b"\r\n", b":", b" ", b"\t", b"ce-id", b"source-seq", b"\r", b"\n", b"\xff", "ä".encode()])


@given(st.lists(_PIECES | st.binary(max_size=6), max_size=40).map(b"".join))
def test_any_bytes_are_read_as_the_client_reads_them(raw: bytes) -> None:
    assert QuickClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


def test_the_client_still_reads_headers_by_this_name() -> None:
    read = QuickClient._parse_header_lines(b"ce-id: 1\r\nsource-seq:\t2 \r\nno colon\r\nce id: 3\r\n\r\n")
    assert read == {"ce-id": "1", "source-seq": "2"}
    assert "_parse_header_lines" in Client._process_headers.__code__.co_names
