"""What somebody else's library, tlog-scales of PyPI, makes of our checkpoints, cosignatures, tiles and proofs."""

from pathlib import Path

import pytest
from tallystick_tlog import (
    TileBuilder,
    TileReader,
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
    for index in (0, 255, 256, 511, 512, 699):
        reader.get_inclusion_proof(index, SIZE).check(leaf_hash(lines[index]), head.root_hash)
    for old in (1, 256, 300, 512, 699):
        reader.get_consistency_proof(old, SIZE).check(log(old)[1].root(), head.root_hash)


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
