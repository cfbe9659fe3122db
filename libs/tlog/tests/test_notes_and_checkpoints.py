"""Signed notes, checkpoints and proof files: round trips, refusals, and every byte flipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_tlog import (
    EMPTY_ROOT,
    Checkpoint,
    CheckpointError,
    InvalidSignatureError,
    KeyFormatError,
    MalformedNoteError,
    ProofFormatError,
    RootMismatchError,
    Signer,
    TlogError,
    TlogProof,
    UnverifiedNoteError,
    VerifierKey,
    assemble_proof,
    from_base64,
    leaf_hash,
    open_checkpoint,
    open_note,
    perfect_subtrees,
    plan_inclusion,
    sign_checkpoint,
    to_base64,
)
from tallystick_tlog.samples import ORIGIN, SIGNER, log

CHECKPOINT = Checkpoint(ORIGIN, 5, EMPTY_ROOT)


def proof_of(index: int, size: int) -> tuple[bytes, TlogProof]:
    lines, tree = log(size)
    plan = plan_inclusion(index, size)
    hashes = {}
    for node in (node for element in plan for node in element):
        low, high = node.index << node.level, (node.index + 1) << node.level
        assert perfect_subtrees(low, high) == [node]
        part = type(tree)(low, low).extend(leaf_hash(line) for line in lines[low:high])
        hashes[node] = part.hashes[0]
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root()), SIGNER)
    return lines[index], TlogProof(index, tuple(assemble_proof(plan, hashes)), note)


def test_a_signed_checkpoint_opens_under_its_key() -> None:
    note = sign_checkpoint(CHECKPOINT, SIGNER)
    assert open_checkpoint(note, [SIGNER.verifier]) == CHECKPOINT


def test_extension_lines_are_kept() -> None:
    extended = Checkpoint(ORIGIN, 0, EMPTY_ROOT, ("one", "two"))
    assert open_checkpoint(sign_checkpoint(extended, SIGNER), [SIGNER.verifier]) == extended


def test_every_flipped_bit_of_a_checkpoint_is_detected() -> None:
    note = sign_checkpoint(CHECKPOINT, SIGNER)
    for position in range(len(note)):
        for bit in range(8):
            damaged = bytearray(note)
            damaged[position] ^= 1 << bit
            with pytest.raises(TlogError):
                open_checkpoint(bytes(damaged), [SIGNER.verifier])


def test_a_key_of_another_log_does_not_count_even_if_it_signed() -> None:
    other = Signer("tally.example/other/compliance", bytes(32))
    with pytest.raises(CheckpointError):
        sign_checkpoint(CHECKPOINT, other)
    with pytest.raises(UnverifiedNoteError, match="no key is named"):
        open_checkpoint(other.sign(CHECKPOINT.to_text()), [other.verifier])


def test_another_key_of_the_same_name_is_unknown() -> None:
    impostor = Signer(ORIGIN, bytes(32))
    with pytest.raises(UnverifiedNoteError):
        open_checkpoint(sign_checkpoint(CHECKPOINT, impostor), [SIGNER.verifier])


def test_an_unknown_second_signature_is_passed_over_but_a_bad_one_by_a_known_key_is_not() -> None:
    note = sign_checkpoint(CHECKPOINT, SIGNER)
    other = sign_checkpoint(CHECKPOINT, Signer(ORIGIN, bytes(32))).rpartition(b"\n\n")[2]
    assert open_checkpoint(note + other, [SIGNER.verifier]) == CHECKPOINT
    bad = sign_checkpoint(Checkpoint(ORIGIN, 6, EMPTY_ROOT), SIGNER).rpartition(b"\n\n")[2]
    with pytest.raises(InvalidSignatureError):
        open_checkpoint(note + bad, [SIGNER.verifier])


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        "origin\n01\nAAAA\n",
        "origin\n-1\nAAAA\n",
        "origin\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "origin\n9223372036854775808\n" + "A" * 43 + "=\n",
        "origin\n1\n" + "A" * 42 + "B=\n",
        "origin\n1\n" + "A" * 43 + "=\n\nextension\n",
    ],
)
def test_texts_that_are_not_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(Signer("origin", bytes(32)).sign(text), [Signer("origin", bytes(32)).verifier])


@given(st.binary(max_size=300))
def test_no_bytes_but_a_note_open(data: bytes) -> None:
    with pytest.raises(TlogError):
        open_checkpoint(data, [SIGNER.verifier])


def test_huge_notes_and_control_characters_are_refused() -> None:
    with pytest.raises(MalformedNoteError):
        open_note(b"x" * 1_000_001, [SIGNER.verifier])
    with pytest.raises(MalformedNoteError):
        SIGNER.sign("tab\there\n")
    with pytest.raises(MalformedNoteError):
        SIGNER.sign("no newline")


def test_keys_are_refused_that_could_not_be_written() -> None:
    for name in ("", "a b", "a+b"):
        with pytest.raises(KeyFormatError):
            Signer(name, bytes(32))
    with pytest.raises(KeyFormatError):
        Signer("name", bytes(31))
    assert VerifierKey.parse(str(SIGNER.verifier)) == SIGNER.verifier


@pytest.mark.parametrize("text", ["A", "AA", "AA==\n", "AB==", " AA==", "A-==", "AAAA="])
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        from_base64(text)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (2, 5), (4, 5), (6, 8)])
def test_a_proof_file_proves_its_entry_and_no_other(index: int, size: int) -> None:
    line, proof = proof_of(index, size)
    again = TlogProof.from_bytes(proof.to_bytes())
    assert again == proof
    assert again.verify(leaf_hash(line), [SIGNER.verifier]).size == size
    with pytest.raises(RootMismatchError):
        again.verify(leaf_hash(line + b" "), [SIGNER.verifier])


def test_extra_data_travels_but_proves_nothing() -> None:
    line, proof = proof_of(2, 5)
    with_extra = TlogProof(proof.index, proof.hashes, proof.checkpoint, b"note")
    again = TlogProof.from_bytes(with_extra.to_bytes())
    assert again.extra == b"note"
    again.verify(leaf_hash(line), [SIGNER.verifier])


def test_every_flipped_bit_of_a_proof_file_is_detected() -> None:
    line, proof = proof_of(2, 5)
    data = proof.to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(TlogError):
                TlogProof.from_bytes(bytes(damaged)).verify(leaf_hash(line), [SIGNER.verifier])


@given(st.binary(max_size=200).map(lambda tail: b"c2sp.org/tlog-proof@v1\n" + tail))
def test_no_bytes_but_a_proof_file_parse(data: bytes) -> None:
    try:
        TlogProof.from_bytes(data)
    except ProofFormatError:
        return
    assert b"\n\n" in data


def test_a_key_name_that_no_text_can_have_is_refused_as_one() -> None:
    # JSON can spell a lone surrogate, and the name in a receipt comes from JSON.
    with pytest.raises(KeyFormatError, match="not Unicode"):
        VerifierKey.ed25519("tallystick.local/\ud800", bytes(32))
    with pytest.raises(KeyFormatError, match="not Unicode"):
        VerifierKey.parse(f"\udcff+00000000+{to_base64(bytes([1]) + bytes(32))}")
