"""A log in the standard format, c2sp.org/tlog-tiles, read as a source: from a static folder or from any server.

Its entries come out as the lines of an export would. On the way each hash tile is compared with what the entries make,
so that a log that passes is one that every other client of the format can use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from tallystick_tlog import (
    CheckpointError,
    NoteError,
    Tile,
    TileBuilder,
    TileError,
    leaf_hash,
    new_bundles,
    read_bundle,
    read_checkpoint,
    read_hashes,
)

from tallystick_cli.audit.errors import AuditError, NotProvedError

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "vkey"
MAX_TILE_BYTES: Final = 256 * 65_537
"""A full bundle of the longest entries."""


class Files(Protocol):
    """Where the files of one log are."""

    @property
    def name(self) -> str:
        """How the auditor called it."""
        ...

    def read_small(self, name: str) -> bytes:
        """Read the checkpoint or the key; AuditError if it cannot be read."""
        ...

    def read_file(self, name: str, max_bytes: int) -> bytes:
        """Read a file, up to one byte more than it may have; AuditError if it cannot be read."""
        ...


class TiledSource:
    """One log as checkpoint, tiles and entry bundles."""

    path: Path | None = None

    def __init__(self, files: Files) -> None:
        """Take the place of the files; nothing is read."""
        self._files = files
        self._checkpoint: bytes | None = None
        self.name = files.name

    def read_small(self, name: str) -> bytes:
        """Read the checkpoint or the key, whatever an export calls it.

        The checkpoint is read once: the log may grow, the source stays as long as it was.
        """
        if name != CHECKPOINT:
            return self._files.read_small(VKEY)
        if self._checkpoint is None:
            self._checkpoint = self._files.read_small(CHECKPOINT)
        return self._checkpoint

    @contextmanager
    def open_entries(self) -> Iterator["_Lines"]:
        """Open the entries as lines, from the first on."""
        yield _Lines(self._checked_bundles())

    def entries(self, start: int) -> Iterator[bytes]:
        """Give the entries from ``start`` to the checkpoint's size, unverified.

        Raises:
            AuditError: a file cannot be read.
            NotProvedError: a bundle is not one.

        """
        size = self._size()
        for bundle in new_bundles(0, size):
            if bundle.first + bundle.width > start:
                yield from self._read_bundle(bundle)[max(start - bundle.first, 0) :]

    def _size(self) -> int:
        try:
            return read_checkpoint(self.read_small(CHECKPOINT)).size
        except (NoteError, CheckpointError) as error:
            message = f"the checkpoint is not one: {error}"
            raise NotProvedError(message) from error

    def _checked_bundles(self) -> Iterator[list[bytes]]:
        builder = TileBuilder()
        wrong: str | None = None
        for bundle in new_bundles(0, self._size()):
            entries = self._read_bundle(bundle)
            made = [item for entry in entries for item in builder.append(leaf_hash(entry))]
            wrong = wrong or self._first_other(made)
            yield entries
        # Told at the end only: where an entry is at fault, the replay says more about it than its tile.
        if wrong := wrong or self._first_other(builder.edges()):
            message = f"{wrong} is not what the entries make"
            raise NotProvedError(message)

    def _first_other(self, made: list[tuple[Tile, tuple[bytes, ...]]]) -> str | None:
        for tile, hashes in made:
            try:
                found = read_hashes(tile, self._fetch(tile))
            except TileError:
                found = ()
            if found != hashes:
                return tile.path
        return None

    def _fetch(self, tile: Tile) -> bytes:
        try:
            return self._files.read_file(tile.path, MAX_TILE_BYTES)
        except AuditError:
            # A log that has grown meanwhile need not keep a partial tile beside the full one.
            if tile.is_full:
                raise
            return self._files.read_file(tile.full.path, MAX_TILE_BYTES)

    def _read_bundle(self, bundle: Tile) -> list[bytes]:
        try:
            entries = read_bundle(bundle, self._fetch(bundle))
        except TileError as error:
            raise NotProvedError(str(error)) from error
        for place, entry in enumerate(entries):
            if b"\n" in entry:
                message = f"entry {bundle.first + place} in {bundle.path} is more than one line"
                raise NotProvedError(message)
        return entries


class _Lines:
    """Bundles of entries as a stream of lines."""

    def __init__(self, bundles: Iterator[list[bytes]]) -> None:
        self._bundles = bundles
        self._held = b""

    def read(self, size: int, /) -> bytes:
        """Give up to ``size`` bytes, none at the end."""
        while not self._held:
            entries = next(self._bundles, None)
            if entries is None:
                return b""
            self._held = b"".join(entry + b"\n" for entry in entries)
        chunk, self._held = self._held[:size], self._held[size:]
        return chunk


def first_bundle_of(files: Files) -> str | None:
    """Say where the first entry bundle of a tiled log at its checkpoint's size would be, None if there is none."""
    try:
        bundle = next(new_bundles(0, read_checkpoint(files.read_small(CHECKPOINT)).size), None)
    except (AuditError, NoteError, CheckpointError):
        return None
    return bundle.path if bundle else None
