"""Files that survive a crash: either the whole new content is there afterwards or the old one is."""

import os
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


def replace(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Put `content` at `path` atomically and fsync both the file and its folder."""
    temporary = _write_beside(path, content, mode)
    temporary.replace(path)
    sync_folder(path.parent)


def create_once(path: Path, content: bytes, *, mode: int = PRIVATE) -> bytes:
    """Create `path` unless it is there, and return what it holds now; an existing file is never touched."""
    if not path.exists():
        temporary = _write_beside(path, content, mode)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass  # another process was first: its content counts
        finally:
            temporary.unlink()
        sync_folder(path.parent)
    return path.read_bytes()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask is
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return temporary
