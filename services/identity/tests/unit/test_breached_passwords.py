"""The breached passwords of an image are those of the package, in a sixth of the room."""

from __future__ import annotations

import hashlib
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


def test_every_listed_password_is_found_in_its_file_first_and_last_ones_too() -> None:
    every: dict[bytes, list[bytes]] = {}
    for one in Listed():
        digits = hashlib.sha1(one, usedforsecurity=False).digest()[:1]
        ends = every.setdefault(digits + bytes([min(len(one), 20)]), [one, one])
        ends[1] = one
    ends_of_files = {one.decode() for ends in every.values() for one in ends}
    listed = Listed()
    assert len(ends_of_files) > 256 * 2
    assert [one for one in ends_of_files if one not in listed] == []
    assert [one for one in ends_of_files if f"{one}\n" in listed or one + " " in listed] == []


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
