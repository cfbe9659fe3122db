"""Rotations of the checkpoint key: the history that two signatures each make, and everything that is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_tlog import (
    Checkpoint,
    KeyHistory,
    KeyRotation,
    RotationError,
    Signer,
    UnverifiedNoteError,
    VerifierKey,
    follow_keys,
    open_checkpoint,
    open_rotation,
    rotation_name,
    sign_checkpoint,
    sign_rotation,
)

LOG = "ledger.test/acme/compliance"
AT = "2026-11-22T00:00:00.000000Z"


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def public(n: int) -> bytes:
    return Signer("k", seed(n)).verifier.public_key


def statement(old: int, new: int, *, size: int = 0, name: str = LOG) -> str:
    return sign_rotation(KeyRotation(name, size, AT, public(old), public(new)), seed(old), seed(new))


def history(*places: int) -> KeyHistory:
    """Rotate from key 1 on, at each of the places."""
    found = KeyHistory(LOG)
    for n, place in enumerate(places, start=1):
        found = found.add(place, statement(n, n + 1, size=place))
    return found


@pytest.mark.control("X-10")
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True).map(sorted), st.integers(0, 10**6 + 2))
def test_a_checkpoint_is_accepted_from_the_key_in_force_at_its_size_or_a_later_one(
    places: list[int], size: int
) -> None:
    found = history(*places)
    in_force = sum(place < size for place in places)
    checkpoint = Checkpoint(LOG, size, bytes(32))
    for n in range(len(places) + 1):
        note = sign_checkpoint(checkpoint, Signer(LOG, seed(n + 1)))
        if n >= in_force:
            assert open_checkpoint(note, found.verifiers_at(size)) == checkpoint
        else:
            with pytest.raises(UnverifiedNoteError):
                open_checkpoint(note, found.verifiers_at(size))


@given(st.integers(0, 2**53 - 1))
def test_a_rotation_reads_back_as_it_was_written(size: int) -> None:
    rotation = KeyRotation(LOG, size, AT, public(1), public(2))
    assert KeyRotation.from_text(rotation.to_text()) == rotation
    assert open_rotation(sign_rotation(rotation, seed(1), seed(2)), LOG) == rotation


@given(st.data())
def test_no_changed_byte_of_a_statement_passes(data: st.DataObject) -> None:
    note = statement(1, 2).encode()
    place = data.draw(st.integers(0, len(note) - 1))
    changed = bytearray(note)
    changed[place] ^= data.draw(st.integers(1, 127))
    with pytest.raises(RotationError):
        open_rotation(changed.decode("utf-8", "replace"), LOG)


def test_spans_say_which_key_signed_from_where_to_where() -> None:
    assert history(10, 20).spans == ((public(1), 0, 10), (public(2), 10, 20), (public(3), 20, None))
    assert KeyHistory(LOG).spans == ()


def test_the_audit_logs_of_all_months_share_a_name() -> None:
    assert rotation_name("ledger.test/acme/audit-2026-11") == "ledger.test/acme/audit"
    assert rotation_name("ledger.test/acme/audit-2026-11.2") == "ledger.test/acme/audit"
    assert rotation_name("ledger.test/acme/compliance.2") == "ledger.test/acme/compliance"
    assert rotation_name(LOG) == LOG
    month = KeyHistory("ledger.test/acme/audit-2026-12").add(0, statement(1, 2, size=9, name="ledger.test/acme/audit"))
    assert [key.name for key in month.verifiers_at(1)] == ["ledger.test/acme/audit-2026-12"]


def one_signature(by: int) -> str:
    text = KeyRotation(LOG, 0, AT, public(1), public(2)).to_text()
    return Signer(LOG, seed(by)).sign(text).decode()


@pytest.mark.control("X-10")
@pytest.mark.parametrize(
    ("note", "why"),
    [
        (one_signature(1), "both"),
        (one_signature(2), "both"),
        (one_signature(3), "no signature"),
        (statement(1, 2, name="ledger.test/other/compliance"), "not of"),
        (statement(1, 2, name="ledger.test"), "not of"),
        (statement(1, 2, size=11), "signed for a log of 11"),
        ("not a note", "signed note|blank line"),
        ("\ud800\n\n\n", "not signed"),
    ],
)
def test_a_forged_rotation_is_refused(note: str, why: str) -> None:
    with pytest.raises(RotationError, match=why):
        KeyHistory(LOG).add(10, note)


@pytest.mark.control("X-10")
@pytest.mark.parametrize(
    ("old", "new", "place", "why"),
    [
        (3, 4, 30, "key in force"),  # a key was skipped
        (1, 2, 30, "key in force"),  # the same once more
        (2, 1, 30, "brings back"),  # backwards
        (2, 3, 10, "key in force"),  # at the place of the one before
    ],
)
def test_a_rotation_that_does_not_continue_the_history_is_refused(old: int, new: int, place: int, why: str) -> None:
    with pytest.raises(RotationError, match=why):
        history(10).add(place, statement(old, new))


def test_a_checkpoint_is_no_rotation_and_a_rotation_no_checkpoint() -> None:
    with pytest.raises(RotationError, match="not a key rotation"):
        open_rotation(sign_checkpoint(Checkpoint(LOG, 1, bytes(32)), Signer(LOG, seed(1))).decode(), LOG)
    with pytest.raises(RotationError):
        KeyRotation(LOG, 0, AT, public(1), public(1))
    with pytest.raises(RotationError, match="own two keys"):
        sign_rotation(KeyRotation(LOG, 0, AT, public(1), public(2)), seed(1), seed(3))


@pytest.mark.control("X-10")
def test_a_pinned_key_is_followed_to_the_newest_wherever_it_stands_in_the_chain() -> None:
    chain = [statement(1, 2, name="ledger.test"), statement(2, 3, name="ledger.test")]
    assert {follow_keys("ledger.test", public(n), chain) for n in (1, 2, 3)} == {public(3)}
    assert follow_keys("ledger.test", public(1), chain[:1]) == public(2)
    assert follow_keys("ledger.test", public(9), []) == public(9)


@pytest.mark.parametrize(
    "chain",
    [
        [statement(8, 9, name="ledger.test")],
        [statement(2, 3, name="ledger.test"), statement(1, 2, name="ledger.test")],
        [statement(1, 2, name="ledger.test"), statement(2, 1, name="ledger.test")],
        [statement(1, 2, name="ledger.other")],
    ],
)
def test_a_pinned_key_follows_nothing_else(chain: list[str]) -> None:
    with pytest.raises(RotationError):
        follow_keys("ledger.test", public(1), chain)


def test_a_checkpoint_with_two_signatures_opens_with_either_key() -> None:
    note = sign_checkpoint(Checkpoint(LOG, 1, bytes(32)), Signer(LOG, seed(2)), Signer(LOG, seed(1)))
    for n in (1, 2):
        assert open_checkpoint(note, [VerifierKey.ed25519(LOG, public(n))]).size == 1


@pytest.mark.control("X-10")
def test_a_statement_padded_with_strangers_signatures_is_refused() -> None:
    note = statement(1, 2)
    padding = "".join(Signer(f"stranger-{n}", seed(9)).signature_line(note.rpartition("\n\n")[0]) for n in range(60))
    assert open_rotation(note, LOG).new == public(2)
    with pytest.raises(RotationError, match="more than 4096 characters"):
        open_rotation(note + padding, LOG)
    longest = "x" * 255
    assert open_rotation(statement(1, 2, name=longest), longest).name == longest
