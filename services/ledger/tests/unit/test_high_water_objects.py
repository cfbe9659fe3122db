"""Marks in an object store that is slow, fails, forgets or goes back: no mark goes down, and what is lost is said."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
from bucket import NAME
from structlog.testing import capture_logs
from tallystick_ledger.high_water import objects
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import Head, MarkConflictError, MarkMovedError
from tallystick_ledger.high_water.objects import ObjectHighWater
from tallystick_ledger.high_water.place import open_at
from tallystick_ledger.high_water.stored_marks import ChangedError, HighWaterUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bucket import Bucket

LOG = "ledger.test/a/compliance"


def head(size: int, history: str = "") -> Head:
    """A head of the log that had this history."""
    return Head(size, sha256(f"{history}{size}".encode()).digest())


@pytest.fixture
def prefix() -> str:
    return f"tally/{uuid4().hex}"


@pytest.fixture
def opened(store: Bucket, prefix: str) -> Callable[[], ObjectHighWater]:
    """Open the marks as a new process does."""
    return lambda: ObjectHighWater.at(f"s3://{NAME}/{prefix}", trusted=store.ca_file.read_bytes())


@pytest.fixture
def key(prefix: str) -> str:
    return f"{prefix}/marks/{LOG}.json"


def size_of(body: bytes) -> int:
    return int(msgspec.json.decode(body)["size"])


async def test_a_writer_that_has_read_an_older_mark_is_told_and_overwrites_nothing(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str
) -> None:
    one, other = opened(), opened()
    await one.raise_to({LOG: head(1)})
    assert await other.read(LOG) == head(1)
    await one.raise_to({LOG: head(3)})
    with pytest.raises(MarkMovedError):
        await other.raise_to({LOG: head(5, "another history")})
    assert size_of(store.get(key)) == 3
    # What is lower than it is there already, whoever wrote it.
    await other.raise_to({LOG: head(2)})
    assert await other.read(LOG) == head(3)


async def test_a_mark_that_moves_while_it_is_judged_is_judged_again(
    opened: Callable[[], ObjectHighWater], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = opened(), opened()
    await one.raise_to({LOG: head(1)})
    await other.read(LOG)
    await one.raise_to({LOG: head(2)})
    judged: list[Head | None] = []
    guard = HighWaterGuard(other)

    async def show(*_: object) -> None:
        judged.append(await other.recall(LOG))
        await other.raise_to({LOG: head(3)})

    monkeypatch.setattr(guard, "_show", show)
    await guard.show(None, None, head(3))  # type: ignore[arg-type] - nothing of it is looked at
    assert judged == [head(1), head(2)]
    assert await one.read(LOG) == head(3)


async def test_raises_that_wait_for_one_under_way_go_out_together(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.requests.clear()
    store.delay_s = 0.05
    await asyncio.gather(*(marks.raise_to({LOG: head(size)}) for size in range(2, 42)))
    assert size_of(store.get(key)) == 41
    assert store.requests["PUT"] == 2, "the first, and one for all that came meanwhile"


async def test_what_is_written_all_the_time_is_not_asked_for(
    opened: Callable[[], ObjectHighWater], store: Bucket
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.requests.clear()
    for size in range(2, 8):
        assert await marks.recall(LOG) == head(size - 1)
        await marks.raise_to({LOG: head(size)})
    assert store.requests == {"PUT": 6}


async def test_no_third_batch_is_let_through_while_two_raises_are_under_way(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.delay_s = 0.2
    first = asyncio.create_task(marks.raise_to({LOG: head(2)}))
    await asyncio.sleep(0.01)
    assert await marks.recall(LOG) == head(1), "the second may follow at once"
    second = asyncio.create_task(marks.raise_to({LOG: head(3)}))
    await asyncio.sleep(0.01)
    assert await marks.recall(LOG) == head(3)
    assert size_of(store.get(key)) == 3, "both have been raised by then"
    await asyncio.gather(first, second)


async def test_many_who_read_at_once_share_what_is_asked(opened: Callable[[], ObjectHighWater], store: Bucket) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.requests.clear()
    store.delay_s = 0.05
    assert set(await asyncio.gather(*(marks.read(LOG) for _ in range(30)))) == {head(1)}
    assert store.requests["GET"] <= 2


async def test_looking_at_all_marks_fetches_those_that_have_changed(
    opened: Callable[[], ObjectHighWater], store: Bucket
) -> None:
    writing, watching = opened(), opened()
    await writing.raise_to({f"log-{number}": head(1) for number in range(120)})
    assert len(await watching.read_all()) == 120
    await writing.raise_to({"log-7": head(2)})
    store.requests.clear()
    assert (await watching.read_all())["log-7"] == head(2)
    assert store.requests["GET"] <= 3  # the list, perhaps in pages, and one object


@pytest.mark.parametrize("status", [500, 503, 403])
async def test_a_store_that_fails_fails_the_raise_and_the_mark_stays(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str, status: int
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.answers[:] = [status] * 40
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await marks.raise_to({LOG: head(2)})
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await marks.read(LOG)
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await marks.read_all()
    store.answers.clear()
    assert size_of(store.get(key)) == 1
    await marks.raise_to({LOG: head(2)})
    assert size_of(store.get(key)) == 2


async def test_a_store_that_fails_once_is_asked_again(opened: Callable[[], ObjectHighWater], store: Bucket) -> None:
    marks = opened()
    store.answers[:] = [503]
    await marks.raise_to({LOG: head(1)})
    store.answers[:] = [500]
    assert await marks.read(LOG) == head(1)


async def test_a_write_that_was_done_and_not_confirmed_is_recognised(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    store.lost_answers = 1
    await marks.raise_to({LOG: head(2)})  # the repetition gets 412, from what we wrote ourselves
    store.lost_answers = 9
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await opened().raise_to({LOG: head(3)})
    store.lost_answers = 0
    assert size_of(store.get(key)) == 2
    await marks.raise_to({LOG: head(4)})
    assert size_of(store.get(key)) == 4


async def test_a_slow_store_is_waited_for_and_not_for_ever(
    opened: Callable[[], ObjectHighWater], store: Bucket, prefix: str
) -> None:
    marks = ObjectHighWater.at(f"s3://{NAME}/{prefix}", trusted=store.ca_file.read_bytes(), patience_s=2.0)
    await _lift(marks, 1)
    store.delay_s = 0.4
    await marks.raise_to({LOG: head(2)})
    store.delay_s = 3.0
    began = asyncio.get_running_loop().time()
    with pytest.raises(OSError):  # noqa: PT011 - the client's limit or ours
        await marks.raise_to({LOG: head(3)})
    assert asyncio.get_running_loop().time() - began < 6
    store.delay_s = 0.0
    await asyncio.sleep(3.2)  # what was sent may still arrive, and is no harm
    await _lift(marks, 4)
    assert await opened().read(LOG) == head(4)


async def test_a_store_that_always_finds_another_state_is_given_up(
    opened: Callable[[], ObjectHighWater], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(1)})
    refused = 0

    def refuse(*_: object) -> None:
        nonlocal refused
        refused += 1
        raise ChangedError

    monkeypatch.setattr(objects, "put_mark", refuse)
    with pytest.raises(HighWaterUnavailableError, match="could not be put"):
        await marks.raise_to({LOG: head(2)})
    assert 1 < refused < 20
    assert await opened().read(LOG) == head(1)


@pytest.mark.parametrize("gone", ["deleted", "older"])
async def test_a_mark_that_the_store_has_lost_still_holds_is_said_and_put_back(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str, gone: str
) -> None:
    writing, watching = opened(), opened()
    await writing.raise_to({LOG: head(3)})
    older = store.get(key)
    await writing.raise_to({LOG: head(5)})
    assert await watching.read_all() == {LOG: head(5)}

    def lose() -> None:
        store.delete(key)
        if gone == "older":
            store.put(key, older)

    lose()
    with capture_logs() as said:
        assert await writing.read(LOG) == head(5)
    assert [(line["event"], line["log_level"], line["mark"]) for line in said] == [("high_water_lost", "error", 5)]
    with capture_logs() as said:
        assert await watching.read_all() == {LOG: head(5)}
    assert [line["event"] for line in said] == ["high_water_lost"]
    assert size_of(store.get(key)) == 5
    assert await writing.read(LOG) == head(5)
    lose()
    with capture_logs() as said:
        await writing.raise_to({LOG: head(6)})
    assert "high_water_lost" in [line["event"] for line in said]
    assert await opened().read(LOG) == head(6)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a mark",
        b'{"log":"ledger.test/a/compliance","root":"AA==","size":9}',
        b'{"log":"ledger.test/b/compliance","root":"' + b"A" * 43 + b'=","size":9}',
        b'{"log":"ledger.test/a/compliance","root":"' + b"A" * 43 + b'=","size":0}',
    ],
)
async def test_what_is_no_mark_is_an_error_and_no_fresh_start(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str, body: bytes
) -> None:
    store.put(key, body)
    for marks in (opened(), opened()):
        with pytest.raises(HighWaterUnavailableError, match="high-water mark"):
            await marks.read(LOG)
        with pytest.raises(HighWaterUnavailableError, match="high-water mark"):
            await marks.read_all()
        with pytest.raises(HighWaterUnavailableError, match="high-water mark"):
            await marks.raise_to({LOG: head(10)})
    assert store.get(key) == body


async def test_another_root_at_the_same_size_is_a_conflict_also_when_read(
    opened: Callable[[], ObjectHighWater], store: Bucket, key: str, prefix: str
) -> None:
    marks = opened()
    await marks.raise_to({LOG: head(3)})
    forged = ObjectHighWater.at(f"s3://{NAME}/{prefix}/forged", trusted=store.ca_file.read_bytes())
    await forged.raise_to({LOG: head(3, "another")})
    store.put(key, store.get(f"{prefix}/forged/marks/{LOG}.json"))
    with pytest.raises(MarkConflictError):
        await marks.read(LOG)


async def test_a_store_that_heeds_no_conditions_gets_no_marks(
    opened: Callable[[], ObjectHighWater], store: Bucket, prefix: str
) -> None:
    store.is_careless = True
    for _ in range(2):
        with pytest.raises(HighWaterUnavailableError, match="does not heed"):
            await opened().raise_to({LOG: head(1)})
    store.is_careless = False
    assert await opened().read(LOG) is None
    assert prefix


async def test_a_bucket_that_is_not_there_and_a_port_where_nobody_listens_are_errors(
    store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await ObjectHighWater.at("s3://no-such-bucket/tally", trusted=store.ca_file.read_bytes()).raise_to(
            {LOG: head(1)}
        )
    monkeypatch.setenv("AWS_ENDPOINT", "https://127.0.0.1:1")
    with pytest.raises(OSError):  # noqa: PT011 - whichever
        await ObjectHighWater.at(f"s3://{NAME}/tally", patience_s=1.0).read(LOG)


async def test_a_store_with_a_certificate_from_anybody_and_one_without_are_not_spoken_to(
    store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HighWaterUnavailableError):
        await ObjectHighWater.at(f"s3://{NAME}/tally", patience_s=1.0).read(LOG)
    monkeypatch.setenv("AWS_ENDPOINT", store.url.replace("https", "http"))
    with pytest.raises(HighWaterUnavailableError):
        await ObjectHighWater.at(f"s3://{NAME}/tally", patience_s=1.0).read(LOG)
    assert not store.requests


@pytest.mark.parametrize(
    "where", ["marks", "./marks", "s3:/marks", "file:///marks", "memory:///", "https://example.org/marks", "s3://", ""]
)
def test_what_is_neither_a_folder_nor_a_store_is_refused(where: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words differ
        open_at(where)


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_the_library_knows_google_and_azure_by_their_addresses(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "tally")
    assert open_at(f"{scheme}://{NAME}/tally/marks")


def test_a_process_that_has_asked_the_store_ends_as_it_should(store: Bucket, prefix: str) -> None:
    script = """
import asyncio, sys
from tallystick_ledger.high_water.place import open_at
from tallystick_ledger.high_water.stored_marks import ChangedError, HighWaterUnavailableError
print(asyncio.run(open_at(sys.argv[1], trusted=open(sys.argv[2], "rb").read()).read("log")))
sys.exit(7)
"""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", script, f"s3://{NAME}/{prefix}", store.ca_file], check=False, capture_output=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (7, b"None\n", b"")


async def _lift(marks: ObjectHighWater, size: int) -> None:
    try:
        await marks.raise_to({LOG: head(size)})
    except MarkMovedError:
        await marks.raise_to({LOG: head(size)})
