"""``tally audit mirror``: a log as a static folder of c2sp.org/tlog-tiles that any web server can serve.

What is new is built beside the mirror, compared with the signed checkpoint, and only then moved into place, the
checkpoint last. The mirror goes on from its own tiles, so a log that was rewritten below them makes another root: it
cannot replace what the mirror has.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from tallystick_tlog import (
    ENTRIES_LEVEL,
    TILE_WIDTH,
    Checkpoint,
    CheckpointError,
    NoteError,
    Tile,
    TileBuilder,
    TileError,
    VerifierKey,
    edge_tiles,
    leaf_hash,
    new_bundles,
    open_checkpoint,
    read_bundle,
    read_hashes,
    to_base64,
    write_bundle,
    write_hashes,
)

from tallystick_cli.audit.console import (
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    LogArgument,
    counted,
    one_source,
    plain_errors,
    say,
    show_json,
    warn,
)
from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError, NotProvedError
from tallystick_cli.audit.keys import load_keys, parse_keys
from tallystick_cli.audit.render import progress_bar, total_bytes
from tallystick_cli.audit.sources import CHECKPOINT, VKEY, FolderSource, LogSource
from tallystick_cli.audit.tiled import MAX_TILE_BYTES, TiledSource
from tallystick_cli.audit.tiled import VKEY as TILED_VKEY
from tallystick_cli.audit.walk import bare_lines

INCOMING: Final = ".incoming"

_NOT_PINNED: Final = "the key came with the log, so anyone could have made both: pin it with --key"


class Mirrored(msgspec.Struct, frozen=True):
    """What was done: ``added`` entries made the mirror ``entries`` long; ``root`` is base64."""

    log: str
    folder: str
    entries: int
    added: int
    root: str
    authenticated: bool


def mirror(
    log: LogArgument,
    folder: Annotated[Path, typer.Argument(help="The folder to make, or the mirror to bring up to date.")],
    *,
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    """Write a log as a static folder in the standard format (c2sp.org/tlog-tiles), or bring one up to date.

    The log may be an export, a mirror, or the address of either. Nothing is moved into the folder before the new
    entries and those that are there make the root that is signed. Without --key a mirror trusts the key that it got
    first. Exit status: 0 done, 1 the log does not hold or contradicts the mirror, 2 not done.

        tally audit mirror https://ledger.example/api/v1/ledger/logs/… mirrors/acme --key ledger.vkey
    """
    with plain_errors():
        pinned = load_keys(key) if key is not None else ()
        source = one_source(log, ca, header or ())
        with progress_bar(total_bytes([source])) as advance:
            done = mirror_log(source, folder, pinned, advance)
    if as_json:
        show_json(done)
    else:
        say(f"{counted(done.entries, 'entry')} of {done.log}, {done.added:,} of them new, in {done.folder}")
    if not done.authenticated:
        warn(_NOT_PINNED)


def mirror_log(source: LogSource, folder: Path, pinned: Sequence[VerifierKey], advance: Advance) -> Mirrored:
    """Bring the mirror in ``folder`` to the source's checkpoint.

    Raises:
        AuditError: the source cannot be read, or the folder not written.
        NotProvedError: the log does not hold, or is not a continuation of the mirror.

    """
    note = source.read_small(CHECKPOINT)
    with _locked(folder):
        keys = pinned or _keys(_read_if_there(folder, TILED_VKEY) or source.read_small(VKEY))
        target = _opened(note, keys, "the log's checkpoint")
        held = _Held(folder, keys, target.origin)
        if target.size < held.size:
            message = f"the log has {target.size} entries, the mirror {held.size}: the log was cut or restored"
            raise NotProvedError(message)
        staging = folder / INCOMING
        shutil.rmtree(staging, ignore_errors=True)
        _stage(source, target, held, staging, advance)
        _write(staging / CHECKPOINT, note)
        own_keys = "".join(f"{key}\n" for key in keys if key.name == target.origin)
        _write(staging / TILED_VKEY, own_keys.encode())
        _publish(staging, folder, held.size, target.size)
    return Mirrored(
        target.origin, str(folder), target.size, target.size - held.size, to_base64(target.root), bool(pinned)
    )


class _Held:
    """What the mirror has, checked against its own checkpoint: the right edge and the unfinished bundle."""

    def __init__(self, folder: Path, keys: Sequence[VerifierKey], origin: str) -> None:
        self.size = 0
        self.builder = TileBuilder()
        self.bundle: list[bytes] = []
        note = _read_if_there(folder, CHECKPOINT)
        if note is None:
            if folder.is_dir() and any(item.name != INCOMING for item in folder.iterdir()):
                message = f"{folder} is neither empty nor a mirror"
                raise AuditError(message)
            return
        own = _opened(note, keys, "the mirror's checkpoint")
        if own.origin != origin:
            message = f"{folder} mirrors {own.origin}, not {origin}"
            raise AuditError(message)
        files = FolderSource(folder)
        try:
            edges = [read_hashes(tile, files.read_file(tile.path, MAX_TILE_BYTES)) for tile in edge_tiles(own.size)]
            if own.size % TILE_WIDTH:
                (last,) = new_bundles(own.size - 1, own.size)
                self.bundle = read_bundle(last, files.read_file(last.path, MAX_TILE_BYTES))
        except TileError as error:
            message = f"the mirror is damaged: {error}"
            raise NotProvedError(message) from error
        self.size, self.builder = own.size, TileBuilder(own.size, edges)
        leaves = next((row for tile, row in self.builder.edges() if tile.level == 0), ())
        if self.builder.root() != own.root or tuple(map(leaf_hash, self.bundle)) != leaves:
            message = "the mirror is damaged: its right edge does not make its checkpoint's root"
            raise NotProvedError(message)


def _stage(source: LogSource, target: Checkpoint, held: _Held, staging: Path, advance: Advance) -> None:
    """Write the new tiles and bundles beside the mirror, and compare with the signed root."""
    builder, bundle = held.builder, list(held.bundle)
    for entry in islice(_entries_from(source, held.size, target.size, advance), target.size - held.size):
        try:
            for tile, hashes in builder.append(leaf_hash(entry)):
                _write(staging / tile.path, write_hashes(hashes))
            bundle.append(entry)
            if len(bundle) == TILE_WIDTH:
                _write(staging / Tile(ENTRIES_LEVEL, builder.size // TILE_WIDTH - 1).path, write_bundle(bundle))
                bundle.clear()
        except TileError as error:
            message = f"entry {builder.size - 1}: {error}"
            raise NotProvedError(message) from error
    if builder.size < target.size:
        message = f"the log ends after {builder.size} entries, its checkpoint counts {target.size}"
        raise NotProvedError(message)
    if builder.root() != target.root:
        message = (
            f"the mirror's {held.size} entries and the new ones do not make the root that is signed: an entry was"
            " changed, or the log is not the one mirrored before"
            if held.size
            else "the entries do not make the root that is signed; `tally audit verify` names the first bad one"
        )
        raise NotProvedError(message)
    there = edge_tiles(held.size)
    for tile, hashes in builder.edges():
        if tile not in there:
            _write(staging / tile.path, write_hashes(hashes))
    if bundle and builder.size != held.size:
        last = Tile(ENTRIES_LEVEL, builder.size // TILE_WIDTH, len(bundle))
        _write(staging / last.path, write_bundle(bundle))


def _entries_from(source: LogSource, start: int, size: int, advance: Advance) -> Iterator[bytes]:
    if isinstance(source, TiledSource):
        return source.entries(start)
    lines = (line for block in bare_lines(source, size, advance) for line in block)
    return islice(lines, start, None)


def _publish(staging: Path, folder: Path, old_size: int, size: int) -> None:
    """Move everything into place, the checkpoint last; then drop the partial tiles that are full by now."""
    with _plain_write_errors(folder):
        for item in staging.rglob("*"):
            if item.is_file() and item != staging / CHECKPOINT:
                place = folder / item.relative_to(staging)
                place.parent.mkdir(parents=True, exist_ok=True)
                item.replace(place)
        (staging / CHECKPOINT).replace(folder / CHECKPOINT)
        shutil.rmtree(staging)
        for tile in (*edge_tiles(old_size), *new_bundles(max(old_size - 1, 0), old_size)):
            if not tile.is_full and size >> (8 * max(tile.level, 0)) >= tile.first + TILE_WIDTH:
                shutil.rmtree((folder / tile.path).parent, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with _plain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _opened(note: bytes, keys: Sequence[VerifierKey], what: str) -> Checkpoint:
    try:
        return open_checkpoint(note, keys)
    except (NoteError, CheckpointError) as error:
        message = f"{what} is not signed by the key: {error}"
        raise NotProvedError(message) from error


def _keys(vkey: bytes) -> tuple[VerifierKey, ...]:
    try:
        return parse_keys(vkey.decode("ascii"))
    except (NoteError, UnicodeDecodeError) as error:
        message = f"the key that came along is none: {error}"
        raise NotProvedError(message) from error


def _read_if_there(folder: Path, name: str) -> bytes | None:
    return FolderSource(folder).read_small(name) if (folder / name).exists() else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and let no other mirror work on it meanwhile."""
    with _plain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another mirror is at work on {folder}"
            raise AuditError(message) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _plain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise AuditError(message) from error
