"""Running a replay over a source: block by block, or with the digests made by several processes."""

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Final

from tallystick_cli.audit.blocks import Part, cut_into_parts, from_entry, read_blocks, read_part
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.fast import Digest, digest
from tallystick_cli.audit.replay import Replay
from tallystick_cli.audit.sources import LogSource, open_file

PART_BYTES: Final = 4 * 1024 * 1024
PARALLEL_FROM_BYTES: Final = 64 * 1024 * 1024
"""Below this size starting processes takes longer than they save."""

MAX_JOBS: Final = 16
_AHEAD: Final = 4
"""Parts given out for each process before the first of them is back."""

Advance = Callable[[int], None]
"""Told how many more bytes have been replayed."""


def choose_jobs(asked: int, size_bytes: int) -> int:
    """Say how many processes to use: as asked, or for 0 all processors if the file is long enough."""
    if asked:
        return min(asked, MAX_JOBS)
    return min(os.cpu_count() or 1, MAX_JOBS) if size_bytes >= PARALLEL_FROM_BYTES else 1


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from searching for cycles: a replay makes none, and millions of short-lived objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def run(source: LogSource, replay: Replay, max_entries: int, jobs: int, advance: Advance) -> None:
    """Replay until the end, the first finding, or more than ``max_entries`` entries.

    Raises:
        AuditError: the source cannot be read.

    """
    path = source.path
    if path is not None and not replay.tree.end:
        with open_file(path) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            jobs = choose_jobs(jobs, size_bytes)
            parts = cut_into_parts(file, size_bytes, PART_BYTES) if jobs > 1 else []
        if len(parts) > 1:
            _run_parts(path, parts, replay, max_entries, jobs, advance)
            return
    with without_collector(), source.open_entries() as stream:
        read = from_entry(stream.read, replay.tree.end) if replay.tree.end else stream.read
        for block in read_blocks(read):
            replay.add(block)
            advance(len(block.data))
            if is_over(replay, max_entries):
                return


def digest_part(path: Path, part: Part, log: str) -> list[Digest | None]:
    """Digest each block of one part; what another process runs."""
    with without_collector(), open_file(path) as file:
        return [None if block.cut else digest(block.data, log) for block in read_part(file, part)]


def is_over(replay: Replay, max_entries: int) -> bool:
    """Say whether the replay has found something, or more entries than there should be."""
    return replay.finding is not None or replay.suspicion is not None or replay.tree.end > max_entries


def _run_parts(  # noqa: PLR0917 (one caller, which has just worked these out)
    path: Path, parts: list[Part], replay: Replay, max_entries: int, jobs: int, advance: Advance
) -> None:
    # Spawned, not forked: a child must not inherit the terminal's progress bar and its thread.
    context = multiprocessing.get_context("spawn")
    try:
        # This process works too, so that nothing waits while the others start.
        with ProcessPoolExecutor(jobs - 1, mp_context=context) as pool:
            for part, digests in _in_order(pool, path, parts, replay.log, _AHEAD * jobs):
                accepted = sum(1 for _ in takewhile(lambda found: found is not None and replay.accept(found), digests))
                if accepted < len(digests):
                    _replay_part(path, part, digests, accepted, replay)
                advance(part.end - part.start)
                if is_over(replay, max_entries):
                    pool.shutdown(wait=False, cancel_futures=True)
                    return
    except BrokenProcessPool as error:
        message = "a process of the replay died; try --jobs 1"
        raise AuditError(message) from error


@dataclass(slots=True)
class _Share:
    """One part of the file, and who digests it."""

    part: Part
    future: Future[list[Digest | None]]
    own: list[Digest | None] | None = None


def _in_order(
    pool: ProcessPoolExecutor, path: Path, parts: list[Part], log: str, ahead: int
) -> Iterator[tuple[Part, list[Digest | None]]]:
    """Give each part's digests; what no other process has begun while the next part is awaited, this one does."""
    waiting: deque[_Share] = deque()
    left = iter(parts)
    while True:
        for part in islice(left, ahead - len(waiting)):
            waiting.append(_Share(part, pool.submit(digest_part, path, part, log)))
        if not waiting:
            return
        first = waiting[0]
        if first.own is None and not first.future.done():
            # The farthest one: the others will take the nearer ones first.
            free = next((share for share in reversed(waiting) if share.own is None and share.future.cancel()), None)
            if free is not None:
                free.own = digest_part(path, free.part, log)
                continue
        waiting.popleft()
        yield first.part, first.own if first.own is not None else first.future.result()


def _replay_part(path: Path, part: Part, digests: list[Digest | None], accepted: int, replay: Replay) -> None:
    """Go over a part's blocks again, beginning with the first that was not accepted.

    Blocks are counted, not told by their numbers: one that repeats earlier entries is sound in itself.
    """
    with open_file(path) as file:
        for block, found in islice(zip(read_part(file, part), digests, strict=False), accepted, None):
            replay.add(block, found)
            if replay.finding is not None or replay.suspicion is not None:
                return
