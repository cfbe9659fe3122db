"""What may be a password, and how it is hashed, without a database."""

from __future__ import annotations

from uuid import UUID

import argon2
import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.ids import TenantId
from tallystick_identity.passwords.common_passwords import CommonPasswords, _most_used
from tallystick_identity.passwords.domain import MAX_LENGTH, device_mark, known_device, refusal_of
from tallystick_identity.passwords.hashing import _NOBODYS, AT_ONCE, LANES, MEMORY_KIB, PASSES, Hasher

COMMON = CommonPasswords()
CONTEXT = ("ada.lovelace@north.example", "ada.lovelace", "Ada Lovelace", "aurora-school")
TENANT = TenantId(UUID(int=7))


@pytest.mark.control("AC-01")
@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "8 chars!",
        "a" * 127 + "b",
        "пароль для школы",
        "🦜🦜🦜🦜🦜🦜🦜🐢",
        "with\x00null and\ttab",
        "  spaces at both ends  ",
        "kq7w-vx2m",
    ],
)
def test_any_characters_make_a_password(password: str) -> None:
    assert refusal_of(password, common=COMMON, context=CONTEXT) is None


@pytest.mark.parametrize(
    "password",
    [
        "7 chars",
        "a b" * 43,
        "password",
        "PassWord",
        "password123!",
        "12345678",
        "!!sunshine2026",
        "zzzzzzzzzz",
        "tallystick",
        "Tallystick-2026",
        "ada.lovelace",
        "lovelace99",
        "aurora-school",
        "ada.lovelace@north.example",
        "1qaz2wsx3edc4rfv5tgb",
        "correcthorsebatterystaple",
    ],
)
def test_what_is_tried_first_is_no_password(password: str) -> None:
    assert refusal_of(password, common=COMMON, context=CONTEXT) is not None


def test_the_list_has_more_than_the_three_thousand_most_used_that_are_long_enough() -> None:
    assert sum(len(one) >= 8 for one in _most_used()) > 3_000
    assert all(one == one.casefold() for one in _most_used())


def test_breached_passwords_are_refused_that_are_not_among_the_most_used() -> None:
    breached = {"Jordan2345", "!!g0d0fwar", "1qaz2wsx3edc4rfv5tgb"}
    assert not breached & _most_used()
    assert [refusal_of(one, common=COMMON) for one in breached] == [refusal_of("password", common=COMMON)] * 3


@given(st.text(min_size=12, max_size=MAX_LENGTH))
def test_the_rules_bear_any_text(text: str) -> None:
    refusal_of(text, common=COMMON, context=(text,))


@pytest.mark.control("AC-01")
async def test_a_hash_is_argon2id_with_the_parameters_of_owasp_and_salted() -> None:
    hasher = Hasher()
    first, second = [await hasher.hash("correct horse") for _ in range(2)]
    assert first != second
    assert first.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$")
    assert (MEMORY_KIB >= 19 * 1024, PASSES >= 2, LANES) == (True, True, 1)
    assert await hasher.verify("correct horse", first)
    assert not await hasher.verify("correct horsf", first)
    assert not hasher.is_outdated(first)


@pytest.mark.control("AC-01")
@pytest.mark.parametrize("length", [73, 128])
async def test_long_passwords_count_to_their_last_character(length: int) -> None:
    hasher = Hasher()
    hashed = await hasher.hash("é" * (length - 1) + "a")
    assert await hasher.verify("é" * (length - 1) + "a", hashed)
    assert not await hasher.verify("é" * (length - 1) + "b", hashed)


@pytest.mark.control("AC-01")
async def test_bcrypt_verifies_and_is_outdated_and_what_it_would_cut_is_refused() -> None:
    hasher = Hasher()
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert await hasher.verify("x" * 72, hashed)
    assert not await hasher.verify("x" * 73, hashed)
    assert not await hasher.verify("y" * 72, hashed)
    assert hasher.is_outdated(hashed)
    assert hasher.is_outdated(argon2.PasswordHasher(time_cost=1, memory_cost=64).hash("x"))


async def test_whoever_has_no_password_costs_as_much_as_whoever_has_one() -> None:
    assert not Hasher().is_outdated(_NOBODYS)
    assert not await Hasher().verify("anything", None)


async def test_when_too_many_wait_the_next_is_told_to_come_again() -> None:
    hasher = Hasher(at_once=AT_ONCE, waiting=-AT_ONCE)
    with pytest.raises(Unavailable):
        await hasher.hash("correct horse")


def test_a_device_is_known_to_its_account_alone() -> None:
    mark = str(device_mark(bytes(32), TENANT, b"index", name="n" * 22))
    assert known_device(bytes(32), TENANT, b"index", mark) == "n" * 22
    assert known_device(bytes(32), TENANT, b"other", mark) is None
    assert known_device(bytes(31) + b"1", TENANT, b"index", mark) is None
    for text in ("", ".", mark[:-1], mark + "0", "x" + mark, mark.partition(".")[0], "é." + "é" * 64):
        assert known_device(bytes(32), TENANT, b"index", text) is None, text
