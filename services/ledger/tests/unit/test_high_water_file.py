"""Marks in a file: durable, only ever raised, shared by processes, and whole after a kill at any point."""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_ledger.high_water import files
from tallystick_ledger.high_water.files import FILE, FileHighWater
from tallystick_ledger.high_water.mark import MOST_UNMARKED, NOTHING, Head, Verdict, judge

if TYPE_CHECKING:
    from pathlib import Path

LOG = "ledger.test/a/compliance"


def head(size: int, history: str = "") -> Head:
    """A head of the log that had this history."""
    return Head(size, sha256(f"{history}{size}".encode()).digest())


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
