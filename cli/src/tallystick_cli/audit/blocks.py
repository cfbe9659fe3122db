"""Reading an export in blocks of whole lines, in constant memory however hostile the file is."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO, Final

import msgspec
from tallystick_tlog import MAX_LINE_BYTES

BLOCK_BYTES: Final = 192 * 1024
"""Larger blocks fall out of the processor's cache and are mapped anew each time, smaller ones cost calls."""

LONGEST_BYTES: Final = MAX_LINE_BYTES + 1  # with its line feed

_SEQ: Final = re.compile(rb'"seq":([0-9]{1,16}),"source_seq":[0-9]{1,16},"v":1}\n')


class Block(msgspec.Struct, frozen=True):
    """Consecutive whole lines as one text, and what comes next.

    ``data`` ends in a line feed unless it is the end of the file or was ``cut`` in a line longer than an entry may be.
    ``following`` is the line after the block, without its line feed, where it could be seen.
    """

    data: bytes
    following: bytes | None
    cut: bool = False


def read_blocks(read: Callable[[int], bytes], following: bytes | None = None) -> Iterator[Block]:
    """Cut a stream into blocks; it ends where ``read`` gives nothing, or after the first line that is too long.

    A block is handed out when two more lines are known, so that every block but a one-line file's can look ahead, and
    the last one has two lines: to name the culprit of a broken link, its neighbours are needed. ``following`` is the
    line after the end where the stream is a part of a file.
    """
    held = b""
    while chunk := read(BLOCK_BYTES):
        # Look in the new chunk alone: the two lines that must be known are in it, unless lines are very long.
        end = chunk.rfind(b"\n") + 1
        last = chunk.rfind(b"\n", 0, max(end - 1, 0)) + 1
        ready = chunk.rfind(b"\n", 0, max(last - 1, 0)) + 1
        if ready and len(chunk) - end <= LONGEST_BYTES:
            yield Block(b"".join((held, memoryview(chunk)[:ready])), chunk[ready : last - 1])
            held = chunk[ready:]
            continue
        held += chunk
        end = held.rfind(b"\n") + 1
        if len(held) - end > LONGEST_BYTES:
            yield Block(held[: end + LONGEST_BYTES], None, cut=True)
            return
        last = held.rfind(b"\n", 0, max(end - 1, 0)) + 1
        ready = held.rfind(b"\n", 0, max(last - 1, 0)) + 1
        if ready:
            yield Block(held[:ready], held[ready : last - 1])
            held = held[ready:]
        elif end > 2 * LONGEST_BYTES:
            yield Block(held, None, cut=True)
            return
    if held:
        yield Block(held, following)


def from_entry(read: Callable[[int], bytes], seq: int) -> Callable[[int], bytes]:
    """Read on at entry ``seq``: of a whole log, or of a part that begins there; what comes before is not looked at."""
    held = read(BLOCK_BYTES)
    while held.find(b"\n", 0, LONGEST_BYTES) < 0 and len(held) < LONGEST_BYTES and (more := read(BLOCK_BYTES)):
        held += more
    match = _SEQ.search(held, 0, held.find(b"\n") + 1)
    left = 0 if match and int(match[1]) == seq else seq
    while held and left:
        found = held.count(b"\n")
        if found < left:
            left -= found
            held = read(BLOCK_BYTES)
            continue
        at = -1
        for _ in range(left):
            at = held.find(b"\n", at + 1)
        held, left = held[at + 1 :], 0

    def read_on(size: int) -> bytes:
        nonlocal held
        if not held:
            return read(size)
        chunk, held = held[:size], held[size:]
        return chunk

    return read_on


def first_lines(read: Callable[[int], bytes], count: int) -> Callable[[int], bytes]:
    """Read no more than ``count`` lines."""
    left = count

    def read_on(size: int) -> bytes:
        nonlocal left
        chunk = read(size) if left else b""
        found = chunk.count(b"\n")
        if found < left:
            left -= found
            return chunk
        end = 0
        for _ in range(left):
            end = chunk.find(b"\n", end) + 1
        left = 0
        return chunk[:end]

    return read_on


class Part(msgspec.Struct, frozen=True):
    """The lines that lie in the bytes ``[start, end)`` of a file."""

    start: int
    end: int


def cut_into_parts(file: BinaryIO, size_bytes: int, part_bytes: int) -> list[Part]:
    """Cut a file into parts of about ``part_bytes`` that end with a line; the last one has at least two lines."""
    ends = []
    for nominal in range(part_bytes, size_bytes - 2 * LONGEST_BYTES, part_bytes):
        file.seek(nominal)
        line_feed = file.read(LONGEST_BYTES).find(b"\n")
        if line_feed >= 0:
            ends.append(nominal + line_feed + 1)
    bounds = [0, *ends, size_bytes]
    return [Part(start, end) for start, end in pairwise(bounds)]


def read_part(file: BinaryIO, part: Part) -> Iterator[Block]:
    """Read the blocks of one part of a file."""
    file.seek(part.end)
    line, line_feed, _ = file.read(LONGEST_BYTES).partition(b"\n")
    file.seek(part.start)
    left = part.end - part.start

    def read(size: int) -> bytes:
        nonlocal left
        chunk = file.read(min(size, left))
        left -= len(chunk)
        return chunk

    return read_blocks(read, line if line_feed else None)
