"""Tiles and bundles: paths, widths, contents, and the client that verifies them, against the specification's words."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tallystick_tlog import (
    EMPTY_ROOT,
    ENTRIES_LEVEL,
    CompactRange,
    Tile,
    TileBuilder,
    TileError,
    TileMismatchError,
    TileReader,
    edge_root,
    edge_tiles,
    leaf_hash,
    new_bundles,
    new_tiles,
    read_bundle,
    read_hashes,
    verify_consistency,
    verify_inclusion,
    width_at,
    write_bundle,
    write_hashes,
)

ENTRIES = [b"%d" % number for number in range(70_000)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
SIZES = (1, 2, 255, 256, 257, 511, 512, 5000, 65_535, 65_536, 65_537, 65_792, 70_000)
large = settings(deadline=None, max_examples=40)
"""For properties that hash tens of thousands of leaves."""
sizes = st.one_of(st.sampled_from(SIZES), st.integers(1, len(LEAVES)))


def naive_hashes(level: int, size: int) -> list[bytes]:
    """Give MTH(D[i * 256^level : (i + 1) * 256^level]) for each i that is whole at this size."""
    span = 256**level
    return [CompactRange().extend(LEAVES[start : start + span]).root() for start in range(0, size // span * span, span)]


LEVELS = [LEAVES, naive_hashes(1, len(LEAVES)), naive_hashes(2, len(LEAVES))]


def naive_content(tile: Tile) -> bytes:
    source = ENTRIES if tile.level == ENTRIES_LEVEL else LEVELS[tile.level]
    items = source[tile.first : tile.first + tile.width]
    assert len(items) == tile.width, f"{tile.path} reaches past the end"
    return write_bundle(items) if tile.level == ENTRIES_LEVEL else b"".join(items)


def naive_tiles(size: int) -> set[Tile]:
    found = set()
    for level in range(8):
        full, partial = divmod(size // 256**level, 256)
        found |= {Tile(level, index) for index in range(full)} | ({Tile(level, full, partial)} if partial else set())
    return found


def reader_at(size: int, fetch: Callable[[Tile], bytes] = naive_content) -> TileReader:
    return TileReader(size, CompactRange().extend(LEAVES[:size]).root(), fetch)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(0, 1_234_067, 8), "tile/0/x001/x234/067.p/8"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(ENTRIES_LEVEL, 12_345, 1), "tile/entries/x012/345.p/1"),
    ],
)
def test_a_tile_is_named_as_the_specification_names_it(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        *("", "tile", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/1000", "tile/00/000", "tile/64/000"),
        *("tile/-1/000", "tile/data/000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001", "tile/0/x1/000"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/0/000.p/1/", "/tile/0/000"),
        *(
            "tile/0/000\n",
            "tile/0/\u0660\u0660\u0660",
            "tile/0/../000",
            "tile/0/x000.p/1",
            "Tile/0/000",
            "tile/Entries/000",
        ),
        "tile/0/x999/x999/x999/x999/x999/x999/999",
    ],
)
def test_anything_else_names_no_tile(path: str) -> None:
    with pytest.raises(TileError):
        Tile.parse(path)


@given(st.integers(-1, 63), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_every_path_reads_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert Tile.parse(tile.path) == tile
    assert tile.full.path == tile.path.partition(".p")[0]


@pytest.mark.parametrize(("level", "index", "width"), [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**60, 1), (0, 0, 257)])
def test_a_tile_outside_every_tree_is_refused(level: int, index: int, width: int) -> None:
    with pytest.raises(TileError):
        Tile(level, index, width)


def test_the_specifications_example_of_70000_entries() -> None:
    tiles = list(new_tiles(0, 70_000))
    assert sum(tile.level == 0 and tile.is_full for tile in tiles) == 273
    assert [tile for tile in tiles if not tile.is_full] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in tiles if tile.level and tile.is_full] == [Tile(1, 0)]


def test_a_tree_of_256_is_a_full_tile_and_a_partial_one_above_it() -> None:
    assert [tile.path for tile in new_tiles(0, 256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [tile.path for tile in new_bundles(0, 256)] == ["tile/entries/000"]
    assert [tile.path for tile in edge_tiles(256)] == ["tile/1/000.p/1"]


@given(sizes, sizes)
@large
def test_growth_adds_exactly_what_was_not_there(one: int, other: int) -> None:
    old, size = sorted((one, other))
    assert set(new_tiles(0, size)) == naive_tiles(size)
    assert set(new_tiles(old, size)) == naive_tiles(size) - naive_tiles(old)
    assert {tile.first for tile in new_bundles(old, size)} == {
        tile.first for tile in naive_tiles(size) - naive_tiles(old) if tile.level == 0
    }
    assert set(edge_tiles(size)) == {tile for tile in naive_tiles(size) if not tile.is_full}
    for tile in naive_tiles(size):
        assert width_at(tile.level, tile.index, size) == tile.width
        assert width_at(tile.level, tile.index + 1, size) in {0, *range(1, 257)} - (
            {256} if not tile.is_full else set()
        )


def test_an_empty_log_has_no_tiles_and_logs_do_not_shrink() -> None:
    assert list(new_tiles(0, 0)) == list(new_bundles(7, 7)) == list(edge_tiles(0)) == []
    assert edge_root(0, []) == TileBuilder().root() == EMPTY_ROOT
    for old, size in ((2, 1), (-1, 1), (0, 2**63)):
        with pytest.raises(TileError):
            list(new_tiles(old, size))


@given(sizes)
@large
def test_the_edge_makes_the_root(size: int) -> None:
    edges = [read_hashes(tile, naive_content(tile)) for tile in edge_tiles(size)]
    assert edge_root(size, edges) == CompactRange().extend(LEAVES[:size]).root()


def test_the_builder_hands_out_each_tile_once_with_its_hashes() -> None:
    builder = TileBuilder()
    written: dict[Tile, bytes] = {}
    for size, leaf in enumerate(LEAVES, start=1):
        for tile, hashes in builder.append(leaf):
            assert tile not in written
            written[tile] = write_hashes(hashes)
        if size in SIZES:
            edges = dict(builder.edges())
            assert written.keys() | edges.keys() == naive_tiles(size)
            assert builder.root() == CompactRange().extend(LEAVES[:size]).root()
            assert all(write_hashes(edges[tile]) == naive_content(tile) for tile in edges)
    assert all(content == naive_content(tile) for tile, content in written.items())


@given(sizes, sizes)
@large
def test_a_builder_goes_on_from_the_edge_where_another_stopped(one: int, other: int) -> None:
    old, size = sorted((one, other))
    old = max(old, size - 600)
    builder = TileBuilder(old, [read_hashes(tile, naive_content(tile)) for tile in edge_tiles(old)])
    filled = [tile for leaf in LEAVES[old:size] for tile, _ in builder.append(leaf)]
    assert set(filled) == {tile for tile in new_tiles(old, size) if tile.is_full}
    assert builder.root() == CompactRange().extend(LEAVES[:size]).root()


@given(st.data())
@large
def test_proofs_made_from_tiles_hold(data: st.DataObject) -> None:
    size = data.draw(sizes)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    reader, root = reader_at(size), CompactRange().extend(LEAVES[:size]).root()
    verify_inclusion(LEAVES[index], index, size, reader.inclusion_proof(index), root)
    old_root = CompactRange().extend(LEAVES[:old]).root()
    verify_consistency(old, size, reader.consistency_proof(old), old_root, root)
    assert reader.entry(index) == ENTRIES[index]


def test_reading_a_log_through_fetches_each_tile_once() -> None:
    fetched: list[Tile] = []

    def fetch(tile: Tile) -> bytes:
        fetched.append(tile)
        return naive_content(tile)

    reader = reader_at(70_000, fetch)
    assert [entry for bundle in new_bundles(0, 70_000) for entry in reader.entries(bundle)] == ENTRIES
    assert sorted(fetched, key=str) == sorted([*new_tiles(0, 70_000), *new_bundles(0, 70_000)], key=str)


@pytest.mark.parametrize("size", [256, 5000, 65_792, 70_000])
def test_a_changed_tile_or_entry_is_refused_wherever_it_is(size: int) -> None:
    for victim in [*list(new_tiles(0, size))[::40], *edge_tiles(size), *list(new_bundles(0, size))[::40]]:

        def fetch(tile: Tile, victim: Tile = victim) -> bytes:
            content = naive_content(tile)
            return content[:-1] + bytes([content[-1] ^ 1]) if tile == victim else content

        with pytest.raises(TileMismatchError):  # noqa: PT012 - which of the two refuses depends on the tile
            reader = reader_at(size, fetch)
            if victim.level == ENTRIES_LEVEL:
                reader.entries(victim)
            reader.hashes(victim)


def test_a_full_tile_answers_for_a_partial_one_that_is_no_longer_kept() -> None:
    size = 65_700

    def fetch(tile: Tile) -> bytes:
        whole = width_at(tile.level, tile.index, len(ENTRIES)) == 256
        return naive_content(tile.full if whole else tile)

    reader = reader_at(size, fetch)
    assert reader.entry(size - 1) == ENTRIES[size - 1]
    assert len(reader.hashes(Tile(0, 256, 164))) == 164


def test_a_tile_of_another_size_is_refused() -> None:
    reader = reader_at(300)
    for tile in (Tile(0, 1, 43), Tile(0, 2), Tile(0, 0, 255), Tile(1, 0), Tile(2, 0, 1)):
        with pytest.raises((TileError, TileMismatchError)):
            reader.hashes(tile)
    with pytest.raises(TileError):
        reader.entry(300)


@pytest.mark.parametrize("length", [0, 31, 63, 65, 32, 96, 8191])
def test_a_tile_has_the_length_that_its_width_says(length: int) -> None:
    with pytest.raises(TileError):
        read_hashes(Tile(0, 0, 2), bytes(length))


def test_a_tile_or_bundle_that_cannot_be_is_not_written() -> None:
    for hashes in ([], [bytes(32)] * 257, [bytes(31)]):
        with pytest.raises(TileError):
            write_hashes(hashes)
    for entries in ([], [b""] * 257, [bytes(65_536)]):
        with pytest.raises(TileError):
            write_bundle(entries)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    tile = Tile(ENTRIES_LEVEL, 0, len(entries))
    content = write_bundle(entries)
    assert read_bundle(tile, content) == entries
    for wrong in (content[:-1], content + b"\0", content + b"\0\1"):
        with pytest.raises(TileError):
            read_bundle(tile, wrong)


def test_the_longest_entries_make_a_bundle() -> None:
    entries = [bytes(65_535)] * 256
    content = write_bundle(entries)
    assert len(content) == 256 * 65_537
    assert content[:2] == b"\xff\xff"
    assert read_bundle(Tile(ENTRIES_LEVEL, 0), content) == entries
    assert write_bundle([b"abc", b""]) == b"\0\3abc\0\0"
