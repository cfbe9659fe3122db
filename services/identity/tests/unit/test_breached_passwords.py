"""The breached passwords of an image are those of the package, in a sixth of the room."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_identity.passwords import breached as module
from tallystick_identity.passwords.breached import SHORTEST, Fingerprints, Listed, breached, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.control("AC-01")

FEW = 40_000
LONGEST = 20
"""Bytes from which on all lengths lie in one of the package's files."""
MANY = 4_200_000
ONE_IN = 65_536 * 262_144
"""Fingerprints there are."""


@pytest.fixture(scope="module")
def few() -> tuple[bytes, ...]:
    return tuple(islice(Listed(), FEW))


@pytest.fixture(scope="module")
def file(few: tuple[bytes, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fingerprints") / "few"
    write(few, path)
    return path


def test_the_list_is_as_long_as_the_documents_say() -> None:
    assert sum(1 for _ in Listed()) > MANY


def test_every_one_of_the_longest_is_found_and_nothing_that_begins_like_it() -> None:
    listed = Listed()
    longest = {one.decode() for one in listed if len(one) >= LONGEST}
    assert len(longest) > 30_000
    assert [one for one in longest if one not in listed] == []
    assert [one for one in longest if f"{one}\n" in listed] == []


def test_the_first_and_last_of_each_shorter_length_are_found() -> None:
    ends: dict[int, list[bytes]] = {}
    for one in Listed():
        ends.setdefault(len(one), [one, one])[1] = one
    assert len(ends) >= LONGEST - SHORTEST
    assert [one for both in ends.values() for one in both if one.decode() not in Listed()] == []


def test_every_listed_password_is_found_by_its_fingerprint(few: tuple[bytes, ...], file: Path) -> None:
    fingerprints = Fingerprints(file.read_bytes())
    assert [one for one in few if one.decode() not in fingerprints] == []


def test_others_are_not_found_but_for_as_many_as_share_a_fingerprint(file: Path) -> None:
    fingerprints = Fingerprints(file.read_bytes())
    found = [number for number in range(100_000) if f"nobody has this {number}" in fingerprints]
    assert len(found) <= 3  # 100,000 tries at 40,000 of 2^34 fingerprints: 0.23 are expected
    assert MANY / ONE_IN < 1 / 4_000


def test_the_same_list_gives_the_same_file(few: tuple[bytes, ...], file: Path, tmp_path: Path) -> None:
    write(reversed(few), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


@given(st.text(max_size=SHORTEST - 1) | st.integers())
def test_nothing_shorter_is_found(password: object) -> None:
    assert password not in Listed()


def test_a_file_that_is_cut_short_or_another_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for other in (b"", content[:-1], content + b"\0", content[:100], b"x" + content[1:]):
        with pytest.raises(ValueError, match="no fingerprints"):
            Fingerprints(other)


def test_where_a_build_made_fingerprints_they_are_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(breached(), Listed)
    monkeypatch.setattr(module, "FILE", file)
    assert isinstance(breached(), Fingerprints)
    assert next(iter(Listed())).decode() in breached()
