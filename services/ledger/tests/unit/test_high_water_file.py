"""Marks in a file: durable, only ever raised, shared by processes, and whole after a kill at any point."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_ledger.high_water import files
from tallystick_ledger.high_water.files import FILE, FileHighWater, MarkConflictError
from tallystick_ledger.high_water.mark import MOST_UNMARKED, NOTHING, Head, Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

LOG = "ledger.test/a/compliance"


def head(size: int, history: str = "") -> Head:
    """A head of the log that had this history."""
    return Head(size, sha256(f"{history}{size}".encode()).digest())


async def test_a_mark_is_what_was_raised_last_and_never_goes_back(tmp_path: Path) -> None:
    marks = FileHighWater(tmp_path / "not" / "there")
    assert await marks.read(LOG) is None
    await marks.raise_to({LOG: head(3), "other": head(1)})
    await marks.raise_to({LOG: head(2)})
    assert await marks.read(LOG) == head(3)
    assert await FileHighWater(tmp_path / "not" / "there").read_all() == {LOG: head(3), "other": head(1)}


async def test_two_trees_of_one_size_are_a_conflict_and_the_first_stays(tmp_path: Path) -> None:
    await FileHighWater(tmp_path).raise_to({LOG: head(3)})
    with pytest.raises(MarkConflictError):
        await FileHighWater(tmp_path).raise_to({LOG: head(3, "another")})
    assert await FileHighWater(tmp_path).read(LOG) == head(3)


async def test_one_process_sees_what_another_wrote(tmp_path: Path) -> None:
    one, other = FileHighWater(tmp_path), FileHighWater(tmp_path)
    for size in range(1, 6):
        await (one if size % 2 else other).raise_to({LOG: head(size)})
        assert await one.read(LOG) == await other.read(LOG) == head(size)


@pytest.mark.parametrize("torn", [b'{"log":"ledger.test/a/comp', b'{"log":"x","root":"AA==","size":9}', b"\0\0\0"])
async def test_what_a_crash_cut_short_is_passed_over_and_hides_nothing(tmp_path: Path, torn: bytes) -> None:
    await FileHighWater(tmp_path).raise_to({LOG: head(1)})
    with (tmp_path / FILE).open("ab") as file:
        file.write(torn)
    marks = FileHighWater(tmp_path)
    assert await marks.read(LOG) == head(1)
    await marks.raise_to({LOG: head(2)})
    assert await FileHighWater(tmp_path).read_all() == {LOG: head(2)}


async def test_compacting_keeps_every_mark_also_of_a_process_that_has_the_old_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_COMPACT_ABOVE_BYTES", 1_000)
    busy, other = FileHighWater(tmp_path), FileHighWater(tmp_path)
    for size in range(1, 50):
        await busy.raise_to({LOG: head(size), f"log-{size % 3}": head(size)})
    await other.compact()
    assert (tmp_path / FILE).stat().st_size < 1_000
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    await busy.raise_to({LOG: head(50)})
    expected = {LOG: head(50), "log-0": head(48), "log-1": head(49), "log-2": head(47)}
    assert await FileHighWater(tmp_path).read_all() == await busy.read_all() == await other.read_all() == expected


async def test_a_full_disk_is_an_error_and_the_mark_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = FileHighWater(tmp_path)
    await marks.raise_to({LOG: head(1)})
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="a part"):
        await marks.raise_to({LOG: head(2)})
    monkeypatch.undo()
    assert await FileHighWater(tmp_path).read(LOG) == head(1)
    await marks.raise_to({LOG: head(2)})
    assert await FileHighWater(tmp_path).read(LOG) == head(2)


async def test_a_sync_that_failed_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = FileHighWater(tmp_path)
    synced: list[int] = []

    def fail(_: int) -> None:
        raise OSError

    await marks.raise_to({LOG: head(1)})
    monkeypatch.setattr(files.os, "fdatasync", fail)
    with pytest.raises(OSError):  # noqa: PT011 - the disk's own error, whichever
        await marks.raise_to({LOG: head(2)})
    monkeypatch.setattr(files.os, "fdatasync", synced.append)
    await marks.raise_to({LOG: head(2)})
    await marks.raise_to({LOG: head(2)})
    assert len(synced) == 1


async def test_many_at_once_share_their_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(files.os, "fdatasync", synced.append)
    marks = FileHighWater(tmp_path)
    await asyncio.gather(*(marks.raise_to({f"log-{n}": head(1)}) for n in range(50)))
    assert len(await FileHighWater(tmp_path).read_all()) == 50
    assert len(synced) < 10


def test_what_was_acknowledged_is_there_after_processes_were_killed(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from hashlib import sha256
from pathlib import Path
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.mark import Head
async def main():
    marks = FileHighWater(Path(sys.argv[1]))
    for size in range(1, 100_000):
        await marks.raise_to({sys.argv[2]: Head(size, sha256(str(size).encode()).digest())})
        if size % 7 == 0:
            await marks.compact()
        print(size, flush=True)
asyncio.run(main())
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name], stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]
    for process in running:
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
    for process in running:
        process.send_signal(signal.SIGKILL)
    said = [process.communicate()[0].split(b"\n") for process in running]
    found = asyncio.run(FileHighWater(tmp_path).read_all())
    for name, sizes in zip(("one", "two"), said, strict=True):
        assert found[name].size >= max(100, int(sizes[-2] if len(sizes) > 1 else 0))
        assert found[name] == head(found[name].size)


@given(marked=st.integers(0, 40), has=st.integers(0, 40), batch=st.integers(1, 10), rewritten=st.booleans())
def test_a_log_is_sound_exactly_if_it_continues_its_mark(*, marked: int, has: int, batch: int, rewritten: bool) -> None:
    mark = head(marked) if marked else NOTHING
    now = head(has, "rewritten" if rewritten else "") if has else NOTHING
    at_mark = None if marked > has or not marked else head(marked, "rewritten" if rewritten else "").root
    unmarked = max(0, -((marked - has) // batch))
    verdict = judge(mark, now, root_at_mark=at_mark, unmarked=unmarked)
    if has < marked:
        assert verdict is Verdict.BEHIND
    elif marked and rewritten:
        assert verdict is Verdict.FORKED
    elif unmarked > MOST_UNMARKED:
        assert verdict is Verdict.AHEAD
    else:
        assert verdict is Verdict.SOUND
    assert verdict.is_broken == (has < marked or bool(marked and rewritten))
