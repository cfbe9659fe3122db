"""Witnesses' cosignatures: the specification's own example, round trips, and what is refused."""

import pytest
from tallystick_tlog import (
    CheckpointError,
    InvalidSignatureError,
    KeyFormatError,
    MalformedNoteError,
    VerifierKey,
    Witness,
    from_base64,
    open_checkpoint,
    to_base64,
    verify_cosignatures,
    witness_key,
)
from tallystick_tlog.samples import SIGNER, checkpoint, log

WITNESS = Witness("witness.example/w1", bytes(range(1, 33)))
OTHER = Witness("witness.example/w2", bytes(range(2, 34)))
TIME_S = 1_679_315_147
NOTE = checkpoint(log(5)[1])

EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501


def test_the_cosigned_checkpoint_still_opens_with_the_logs_key() -> None:
    cosigned = NOTE + WITNESS.cosign(NOTE, TIME_S) + OTHER.cosign(NOTE, TIME_S + 1)
    read, found = verify_cosignatures(cosigned, [WITNESS.verifier, OTHER.verifier])
    assert read == open_checkpoint(cosigned, [SIGNER.verifier])
    assert [(one.witness, one.time_s) for one in found] == [
        (WITNESS.verifier, TIME_S),
        (OTHER.verifier, TIME_S + 1),
    ]


def test_a_line_is_an_em_dash_the_name_and_id_time_and_signature() -> None:
    cosigned = NOTE + WITNESS.cosign(NOTE, TIME_S)
    # The message is the same whoever cosigns on top of whom: signature lines are not signed.
    assert WITNESS.cosign(cosigned, TIME_S) == WITNESS.cosign(NOTE, TIME_S)
    dash, name, encoded = WITNESS.cosign(NOTE, TIME_S).decode().split()
    assert (dash, name) == ("—", "witness.example/w1")
    assert len(encoded) == 104  # base64 of 4 + 8 + 64 bytes


def test_the_specifications_example_has_the_form_we_read() -> None:
    read, found = verify_cosignatures(EXAMPLE.encode(), [])
    assert (read.origin, read.size, found) == ("example.com/behind-the-sofa", 20_852_163, ())


def test_the_key_is_written_with_algorithm_4_and_its_own_id() -> None:
    key = WITNESS.verifier
    assert VerifierKey.parse(str(key)) == key == witness_key(key.name, key.public_key)
    assert key.key_id != VerifierKey.ed25519(key.name, key.public_key).key_id


def test_an_unknown_witness_counts_for_nothing() -> None:
    cosigned = NOTE + WITNESS.cosign(NOTE, TIME_S)
    plain = VerifierKey.ed25519(WITNESS.verifier.name, WITNESS.verifier.public_key)
    for keys in ([], [OTHER.verifier], [plain], [SIGNER.verifier]):
        assert verify_cosignatures(cosigned, keys)[1] == ()


def test_of_two_cosignatures_by_one_witness_the_later_counts() -> None:
    cosigned = NOTE + WITNESS.cosign(NOTE, TIME_S + 5) + WITNESS.cosign(NOTE, TIME_S)
    assert [one.time_s for one in verify_cosignatures(cosigned, [WITNESS.verifier])[1]] == [TIME_S + 5]


def changed(line: bytes, at: int) -> bytes:
    """Flip a bit of the id (4 bytes), time (8) or signature (64) that a line carries."""
    dash, name, encoded = line.decode().split()
    data = bytearray(from_base64(encoded))
    data[at] ^= 1
    return f"{dash} {name} {to_base64(bytes(data))}\n".encode()


def test_a_cosignature_of_another_tree_or_time_does_not_hold() -> None:
    line = WITNESS.cosign(NOTE, TIME_S)
    for wrong in (
        checkpoint(log(6)[1]) + line,
        NOTE + changed(line, 11),
        NOTE + changed(line, 40),
        NOTE + changed(line, 4),
    ):
        with pytest.raises(InvalidSignatureError):
            verify_cosignatures(wrong, [WITNESS.verifier])
    short = f"— {WITNESS.verifier.name} {to_base64(WITNESS.verifier.key_id + bytes(20))}\n".encode()
    with pytest.raises(InvalidSignatureError, match="time and a signature"):
        verify_cosignatures(NOTE + short, [WITNESS.verifier])


def test_a_namesake_with_another_key_is_another_witness() -> None:
    namesake = Witness(WITNESS.verifier.name, bytes(32))
    cosigned = NOTE + WITNESS.cosign(NOTE, TIME_S)
    assert verify_cosignatures(cosigned, [namesake.verifier])[1] == ()
    assert verify_cosignatures(NOTE + changed(WITNESS.cosign(NOTE, TIME_S), 0), [WITNESS.verifier])[1] == ()


def test_what_is_no_checkpoint_time_or_seed_is_refused() -> None:
    with pytest.raises(MalformedNoteError):
        WITNESS.cosign(b"text\n", TIME_S)
    with pytest.raises(CheckpointError):
        WITNESS.cosign(SIGNER.sign("not a checkpoint\n"), TIME_S)
    for time_s in (-1, 2**63):
        with pytest.raises(ValueError, match="time"):
            WITNESS.cosign(NOTE, time_s)
    for name, seed in (("", bytes(32)), ("a b", bytes(32)), ("w", bytes(31))):
        with pytest.raises(KeyFormatError):
            Witness(name, seed)
