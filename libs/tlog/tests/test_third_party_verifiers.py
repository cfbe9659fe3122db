"""What somebody else's library, tlog-scales of PyPI, makes of our checkpoints, cosignatures, tiles and proofs."""

from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from tallystick_tlog import (
    TileBuilder,
    TileReader,
    TlogProof,
    VerifierKey,
    Witness,
    leaf_hash,
    new_bundles,
    new_tiles,
    open_checkpoint,
    verify_cosignatures,
    write_bundle,
    write_hashes,
)
from tallystick_tlog.samples import SIGNER, checkpoint, log
from tlog_scales import signing
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.tlog import Checkpoint as TheirCheckpoint
from tlog_scales.tlog import InclusionProof, InclusionProofInvalid

WITNESS = Witness("witness.example/w1", bytes(range(1, 33)))
SIZE = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 700 entries as a static folder, its checkpoint cosigned."""
    folder = tmp_path_factory.mktemp("log")
    lines, tree = log(SIZE)
    builder = TileBuilder()
    tiles = [item for line in lines for item in builder.append(leaf_hash(line))] + builder.edges()
    contents = {tile.path: write_hashes(hashes) for tile, hashes in tiles}
    contents |= {
        bundle.path: write_bundle(lines[bundle.first : bundle.first + bundle.width]) for bundle in new_bundles(0, SIZE)
    }
    assert contents.keys() == {tile.path for tile in (*new_tiles(0, SIZE), *new_bundles(0, SIZE))}
    note = checkpoint(tree)
    contents["checkpoint"] = note + WITNESS.cosign(note, 1_800_000_000)
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_tlog_scales_accepts_the_checkpoint_and_the_cosignature(folder: Path) -> None:
    theirs = TheirCheckpoint.from_text((folder / "checkpoint").read_text())
    keys = signing.VkeySet(*(signing.Vkey.from_string(str(key)) for key in (SIGNER.verifier, WITNESS.verifier)))
    assert {key.name for key, _ in keys.verify(theirs.signatures, theirs)} == {
        SIGNER.verifier.name,
        WITNESS.verifier.name,
    }


def test_tlog_scales_reads_every_entry_and_proof_from_the_tiles(folder: Path) -> None:
    lines, tree = log(SIZE)
    reader = TilesReader(LocalBackend(folder))
    head = reader.get_checkpoint()
    assert reader.calculate_root_hash() == head.root_hash == tree.root()
    assert [reader.get_entry(index) for index in range(SIZE)] == lines
    # As a file-system check: each entry of each bundle is proved to the root, so every node of every tile is looked at.
    for index in range(SIZE):
        leaf = sha256(b"\x00" + reader.get_entry(index)).digest()
        reader.get_inclusion_proof(index, SIZE).check(leaf, head.root_hash)
    for old in (1, 256, 300, 512, 699):
        reader.get_consistency_proof(old, SIZE).check(log(old)[1].root(), head.root_hash)


@pytest.mark.parametrize("path", ["tile/0/001", "tile/0/002.p/188", "tile/entries/002.p/188"])
def test_tlog_scales_refuses_one_changed_bit(folder: Path, path: str) -> None:
    good = (folder / path).read_bytes()
    (folder / path).write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    try:
        reader = TilesReader(LocalBackend(folder))
        head = reader.get_checkpoint()
        entry = 256 if "001" in path else 512  # its sibling's hash, or its own bytes, are what was changed
        leaf = sha256(b"\x00" + reader.get_entry(entry)).digest()
        with pytest.raises(InclusionProofInvalid):
            reader.get_inclusion_proof(entry, SIZE).check(leaf, head.root_hash)
    finally:
        (folder / path).write_bytes(good)


def test_tlog_scales_accepts_what_stands_in_a_proof_file(folder: Path) -> None:
    lines, tree = log(SIZE)
    head = open_checkpoint((folder / "checkpoint").read_bytes(), [SIGNER.verifier])
    ours = TileReader(head.size, head.root, lambda tile: (folder / tile.path).read_bytes())
    proof = TlogProof(300, tuple(ours.inclusion_proof(300)), (folder / "checkpoint").read_bytes()).to_bytes()
    # Read by the letter of c2sp.org/tlog-proof, not by our parser.
    above, _, note = proof.decode().partition("\n\n")
    _, index, *hashes = above.split("\n")
    theirs = TheirCheckpoint.from_text(note)
    found = InclusionProof(int(index.removeprefix("index ")), theirs.size, [b64decode(one) for one in hashes])
    found.check(leaf_hash(lines[300]), theirs.root_hash)
    assert theirs.root_hash == tree.root()


def test_both_make_the_same_proofs(folder: Path) -> None:
    theirs = TilesReader(LocalBackend(folder))
    theirs.get_checkpoint()
    head = open_checkpoint((folder / "checkpoint").read_bytes(), [SIGNER.verifier])
    ours = TileReader(head.size, head.root, lambda tile: (folder / tile.path).read_bytes())
    for index in range(0, SIZE, 37):
        assert ours.inclusion_proof(index) == theirs.get_inclusion_proof(index, SIZE).node_hashes
        assert ours.consistency_proof(index + 1) == theirs.get_consistency_proof(index + 1, SIZE).node_hashes


def test_we_accept_the_checkpoint_that_tlog_scales_signs(folder: Path) -> None:
    theirs = TheirCheckpoint.from_text((folder / "checkpoint").read_text())
    signer = signing.PlainEd25519Signer(SIGNER.verifier.name, bytes(range(32)))
    signed = TheirCheckpoint(theirs.origin, theirs.size, theirs.root_hash, [signer.sign(theirs)])
    assert open_checkpoint(signed.serialize().encode(), [VerifierKey.parse(signer.vkey.serialize())]).size == SIZE
    assert verify_cosignatures(signed.serialize().encode(), [WITNESS.verifier])[1] == ()
