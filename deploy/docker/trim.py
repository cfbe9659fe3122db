"""Take out of an environment what no process reads: symbols of libraries, sources for compilers, parts for others.

What was taken out, or changed, is taken out of its package's `RECORD` too, so that whoever verifies an image by that
finds what is there. No program is needed for it: a base image has Python, and not always binutils.
"""

import base64
import csv
import hashlib
import io
import re
import struct
from pathlib import Path

FOR_COMPILERS = frozenset({".c", ".cpp", ".h", ".hpp", ".proto", ".pxd", ".pxi", ".pyi", ".pyx"})
NEVER_IMPORTED = re.compile(
    r"/tests/|/testing/"
    r"|^sqlalchemy/dialects/(mssql|mysql|oracle|sqlite)/"
    r"|^opentelemetry/semconv/_incubating/"
)
"""Parts of packages that nobody in an image imports (tests/architecture/test_left_out.py): paths in a `RECORD`."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_SYMBOLS, _RELOCATIONS, _ROOMLESS, _SYMBOL_INDEX = 2, (4, 9), 8, 18
"""Types of sections (System V ABI): SYMTAB, RELA and REL, NOBITS, SYMTAB_SHNDX."""
_LOADED, _INFO_IS_A_SECTION = 0x2, 0x40
_TABLE_ALIGNMENT = 8


def trim(installed: Path) -> None:
    """Trim every package of a `site-packages` folder."""
    for record in sorted(installed.glob("*.dist-info/RECORD")):
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
        kept = [row for row in (_trimmed(installed, row) for row in rows) if row is not None]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(kept)
        record.write_text(text.getvalue(), encoding="utf-8")


def _trimmed(installed: Path, row: list[str]) -> list[str] | None:
    """Return a file's row as it is after its trim; nothing where the file is no longer there."""
    path = installed / row[0]
    if not path.is_file():
        return None
    if path.suffix in FOR_COMPILERS or NEVER_IMPORTED.search(row[0]):
        path.unlink()
        return None
    if ".so" not in path.suffixes:
        return row
    before = path.read_bytes()
    content = without_symbols(before)
    if content == before:
        return row
    path.write_bytes(content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return [row[0], f"sha256={digest}", str(len(content))]


def without_symbols(library: bytes) -> bytes:
    """Return an ELF file without its debugging sections and its symbol table, as `strip` would; others as they are.

    What a loader maps stays, byte for byte and where it is: segments, and with them the dynamic symbols. What is
    neither mapped nor for debuggers, such as what says how it was built, moves up behind it.
    """
    if library[: len(_ELF64_LITTLE)] != _ELF64_LITTLE:
        return library
    header = list(_HEADER.unpack_from(library))
    segments_at, sections_at, segments, sections, names_at = header[5], header[6], header[10], header[12], header[13]
    if not sections or header[11] != _SECTION.size or header[9] != _SEGMENT.size:
        return library
    mapped = segments_at + segments * _SEGMENT.size
    for number in range(segments):
        _, _, offset, _, _, size, _, _ = _SEGMENT.unpack_from(library, segments_at + number * _SEGMENT.size)
        mapped = max(mapped, offset + size)
    table = [_SECTION.unpack_from(library, sections_at + number * _SECTION.size) for number in range(sections)]
    kept = _kept(table, library, names_at)
    numbers = {old: new for new, old in enumerate(kept)}
    body = bytearray(library[:mapped])
    rows = []
    for old in kept:
        name, kind, flags, address, offset, size, link, info, alignment, entry = table[old]
        if kind != _ROOMLESS and offset + size > mapped:
            body.extend(bytes(-len(body) % max(alignment, 1)))
            content = library[offset : offset + size]
            offset = len(body)
            body.extend(content)
        if flags & _INFO_IS_A_SECTION or kind in _RELOCATIONS:
            info = numbers.get(info, 0)
        rows.append((name, kind, flags, address, offset, size, numbers.get(link, 0), info, alignment, entry))
    body.extend(bytes(-len(body) % _TABLE_ALIGNMENT))
    header[6], header[12], header[13] = len(body), len(rows), numbers[names_at]
    for row in rows:
        body.extend(_SECTION.pack(*row))
    _HEADER.pack_into(body, 0, *header)
    return min(library, bytes(body), key=len)


def _kept(table: list[tuple[int, ...]], library: bytes, names_at: int) -> list[int]:
    """Return the numbers of the sections that stay."""
    names = table[names_at][4]
    dropped = set()
    for number, (name, kind, flags, *_, link, _, _, _) in enumerate(table):
        if flags & _LOADED:
            continue
        text = library[names + name : library.index(b"\0", names + name)]
        if kind in {_SYMBOLS, _SYMBOL_INDEX}:
            dropped |= {number, link} if kind == _SYMBOLS else {number}
        elif text.startswith((b".debug", b".zdebug", b".gnu.debug")):
            dropped.add(number)
    dropped |= {
        number
        for number, section in enumerate(table)
        if section[1] in _RELOCATIONS and not section[2] & _LOADED and section[7] in dropped
    }
    return [number for number in range(len(table)) if number not in dropped - {names_at}]
