"""Every public case: rfc6962 hashes, transparency-dev proofs, signed notes."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from tallystick_tlog import (
    EMPTY_ROOT,
    HashLengthError,
    KeyFormatError,
    NoteError,
    ProofError,
    Signer,
    VerifierKey,
    leaf_hash,
    node_hash,
    open_note,
    verify_consistency,
    verify_inclusion,
)

TWELVE_BYTE_ROOTS = "sizes-are-equal-one-and-proof-is-empty.json"
"""A valid case with dummy roots of 12 bytes. We demand 32, as the vectors' own README allows."""


def _proof_cases(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    cases = [(path, json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]
    assert len(cases) == 98
    return cases


def _decoded(case: dict[str, Any], *keys: str) -> list[bytes]:
    return [b64decode(case[key]) for key in keys]


def test_hashes_are_those_of_rfc_6962(vectors: Path) -> None:
    cases = json.loads((vectors / "rfc6962" / "hashes.json").read_text())
    assert cases["empty_root"] == EMPTY_ROOT.hex()
    for case in cases["leaf"]:
        data = bytes.fromhex(case["data_hex"]) if "data_hex" in case else case["data_utf8"].encode()
        assert leaf_hash(data).hex() == case["hash"]
    for case in cases["node"]:
        assert node_hash(case["left_utf8"].encode(), case["right_utf8"].encode()).hex() == case["hash"]


def test_every_inclusion_case_of_transparency_dev_is_decided_as_expected(vectors: Path) -> None:
    for path, case in _proof_cases(vectors / "transparency-dev-merkle" / "inclusion"):
        leaf, root = _decoded(case, "leafHash", "root")
        proof = [b64decode(item) for item in case["proof"] or []]
        try:
            verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
            refused = False
        except ProofError:
            refused = True
        assert refused == case["wantErr"], path


def test_every_consistency_case_of_transparency_dev_is_decided_as_expected(vectors: Path) -> None:
    for path, case in _proof_cases(vectors / "transparency-dev-merkle" / "consistency"):
        root1, root2 = _decoded(case, "root1", "root2")
        proof = [b64decode(item) for item in case["proof"] or []]
        if path.name == TWELVE_BYTE_ROOTS:
            with pytest.raises(HashLengthError):
                verify_consistency(case["size1"], case["size2"], proof, root1, root2)
            continue
        try:
            verify_consistency(case["size1"], case["size2"], proof, root1, root2)
            refused = False
        except ProofError:
            refused = True
        assert refused == case["wantErr"], path


def test_every_signed_note_case_is_decided_as_expected(vectors: Path) -> None:
    cases = json.loads((vectors / "signed-note" / "signed-note.json").read_text())["open"]
    assert len(cases) == 14
    for case in cases:
        data = bytes.fromhex(case["note_hex"]) if "note_hex" in case else case["note"].encode()
        keys = [VerifierKey.parse(text) for text in case["vkeys"]]
        if case["ok"]:
            _, verified = open_note(data, keys)
            assert [key.name for key in verified] == case["verified"], case["name"]
        else:
            with pytest.raises(NoteError):
                open_note(data, keys)


def test_every_verifier_key_case_is_decided_as_expected(vectors: Path) -> None:
    cases = json.loads((vectors / "signed-note" / "signed-note.json").read_text())["vkeys"]
    assert len(cases) == 9
    for case in cases:
        if case["ok"]:
            assert str(VerifierKey.parse(case["vkey"])) == case["vkey"], case["name"]
        else:
            with pytest.raises(KeyFormatError):
                VerifierKey.parse(case["vkey"])


def test_signing_gives_the_published_bytes(vectors: Path) -> None:
    (case,) = json.loads((vectors / "signed-note" / "signed-note.json").read_text())["sign"]
    _, _, name, _, encoded = case["skey"].split("+", 4)
    seed = b64decode(encoded)[1:]
    note = Signer(name, seed).sign(case["text"])
    assert note.decode() == case["text"] + "\n" + case["signature_line"]
