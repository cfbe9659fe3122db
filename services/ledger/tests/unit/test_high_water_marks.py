"""What every place of high-water marks has to do: raised only, by any number of processes, and whole after a kill."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallystick_ledger.high_water.mark import Head, MarkConflictError, MarkMovedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tallystick_ledger.high_water.guard import HighWater

LOG = "ledger.test/a/compliance"
LOGS = (LOG, "ledger.test/a/audit/2026-11", "ledger.test/b/compliance")


def head(size: int, history: str = "") -> Head:
    """A head of the log that had this history."""
    return Head(size, sha256(f"{history}{size}".encode()).digest())


async def lift(marks: HighWater, wanted: Mapping[str, Head]) -> None:
    """Raise marks as whoever has held the logs against what another process raised meanwhile."""
    while True:
        try:
            return await marks.raise_to(wanted)
        except MarkMovedError:
            continue


async def test_a_mark_is_what_was_raised_last_and_never_goes_back(open_marks: Callable[[str], HighWater]) -> None:
    marks = open_marks("not/there")
    assert await marks.read(LOG) is None
    assert await marks.recall(LOG) is None
    assert await marks.read_all() == {}
    await marks.raise_to({LOG: head(3), "other": head(1)})
    await marks.raise_to({LOG: head(2)})
    assert await marks.read(LOG) == await marks.recall(LOG) == head(3)
    another = open_marks("not/there")
    assert await another.read_all() == {LOG: head(3), "other": head(1)}
    await lift(another, {LOG: head(2)})
    assert await open_marks("not/there").read(LOG) == head(3)
    assert await marks.compact() is False


async def test_two_trees_of_one_size_are_a_conflict_and_the_first_stays(open_marks: Callable[[str], HighWater]) -> None:
    one = open_marks("here")
    await one.raise_to({LOG: head(3)})
    for marks in (one, open_marks("here")):
        with pytest.raises(MarkConflictError):
            await marks.raise_to({LOG: head(3, "another")})
    assert await open_marks("here").read(LOG) == head(3)


async def test_one_process_sees_what_another_wrote(open_marks: Callable[[str], HighWater]) -> None:
    one, other = open_marks("here"), open_marks("here")
    for size in range(1, 6):
        await lift(one if size % 2 else other, {LOG: head(size)})
        assert await one.read(LOG) == await other.read(LOG) == head(size)
        assert await one.read_all() == await other.read_all() == {LOG: head(size)}


async def test_replicas_that_race_lose_no_raise(open_marks: Callable[[str], HighWater]) -> None:
    replicas = [open_marks("here") for _ in range(3)]

    async def write(marks: HighWater, sizes: range) -> None:
        for size in sizes:
            await lift(marks, {LOG: head(size), LOGS[size % 2 + 1]: head(size)})
            for log in (LOG, LOGS[size % 2 + 1]):
                found = await marks.read(log)
                assert found is not None
                assert found.size >= size
                assert found == head(found.size)

    await asyncio.gather(*(write(marks, range(1 + n, 16 + n)) for n, marks in enumerate(replicas)))
    expected = {LOG: head(17), LOGS[1]: head(16), LOGS[2]: head(17)}
    assert await open_marks("here").read_all() == expected


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["raise", "read", "recall", "all"]), st.sampled_from(LOGS), st.integers(1, 6)
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_reads_and_raises_leaves_the_highest(
    open_marks: Callable[[str], HighWater], steps: list[tuple[int, str, str, int]]
) -> None:
    async def run() -> None:
        place, true = uuid4().hex, dict[str, Head]()
        processes = [open_marks(place) for _ in range(3)]
        for number, does, log, size in steps:
            marks = processes[number]
            if does == "raise":
                await lift(marks, {log: head(size)})
                true[log] = max(head(size), true.get(log, head(size)), key=lambda one: one.size)
            elif does == "read":
                assert await marks.read(log) == true.get(log)
            elif does == "all":
                assert await marks.read_all() == true
            else:  # what was so a second ago: one that was true once
                recalled = await marks.recall(log)
                assert recalled is None or recalled == head(recalled.size)
                assert recalled is None or recalled.size <= true[log].size
        assert await open_marks(place).read_all() == true

    asyncio.run(run())


def test_what_was_acknowledged_is_there_after_processes_were_killed(
    address_of: Callable[[str], str], open_marks: Callable[[str], HighWater], trusted: Path | None
) -> None:
    script = """
import asyncio, sys
from hashlib import sha256
from pathlib import Path
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.high_water.place import open_at
async def main():
    marks = open_at(sys.argv[1], trusted=Path(sys.argv[3]).read_bytes() if sys.argv[3:] else None)
    for size in range(1, 100_000):
        await marks.raise_to({sys.argv[2]: Head(size, sha256(str(size).encode()).digest())})
        if size % 7 == 0:
            await marks.compact()
        print(size, flush=True)
asyncio.run(main())
"""
    place = address_of("here")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, place, name, *([trusted] if trusted else [])], stdout=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    for process in running:
        assert process.stdout is not None
        for _ in range(60):
            process.stdout.readline()
    for process in running:
        process.send_signal(signal.SIGKILL)
    said = [process.communicate()[0].split(b"\n") for process in running]
    found = asyncio.run(_all_of(open_marks("here")))
    for name, sizes in zip(("one", "two"), said, strict=True):
        assert found[name].size >= max(60, int(sizes[-2] if len(sizes) > 1 else 0))
        assert found[name] == head(found[name].size)


async def _all_of(marks: HighWater) -> Mapping[str, Head]:
    return await marks.read_all()
