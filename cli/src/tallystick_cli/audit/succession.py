"""What a log's first entry says of logs before it that could not go on after a restore."""

import re
from typing import Any, Final

import msgspec
from tallystick_tlog import MAX_LINE_BYTES, leaf_hash

from tallystick_cli.audit.findings import Finding
from tallystick_cli.audit.sources import LogSource

_SUCCESSOR: Final = re.compile(r".*/(compliance|audit-[0-9]{4}-[0-9]{2})[.][0-9]+")
_MAY_SUCCEED: Final = re.compile(r".*/(compliance[.][0-9]+|audit-[0-9]{4}-[0-9]{2}([.][0-9]+)?)")
_TYPES: Final = frozenset({"ledger.log.succeeded", "ledger.period.succeeded"})


class _Broken(msgspec.Struct, frozen=True, rename="camel"):
    log: str = ""
    signed_size: int = 0
    signed_root: str = ""
    kept_size: int = 0
    kept_root: str = ""


class _Data(msgspec.Struct, frozen=True):
    log: str = ""
    broken: tuple[_Broken, ...] = ()


def read_succession(
    source: LogSource, log: str, first_leaf: bytes, *, resumed: bool
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Say in words which logs this one succeeds and where each broke; a successor that does not say so is a finding.

    The first entry is read again, and must be the one whose hash the replay found, ``first_leaf``: a server could
    answer otherwise. Where the replay was ``resumed``, the source may have nothing but what was added since, and what
    stands in the first entry was found out when it was replayed.

    Raises:
        AuditError: the source cannot be read.

    """
    if not _MAY_SUCCEED.fullmatch(log):
        return (), ()
    with source.open_entries() as stream:
        line = stream.read(MAX_LINE_BYTES + 1).split(b"\n", 1)[0]
    if leaf_hash(line) != first_leaf and (line or first_leaf):
        if resumed:
            return (), ()
        message = "asked for its first entry once more, the source gave another one than before"
        return (), (Finding("hash", message, seq=0, line=1),)
    data = _read(line)
    if data is None or data.log != log or not data.broken:
        if not _SUCCESSOR.fullmatch(log):
            return (), ()
        message = "the log is called a successor, and its first entry does not name the break that it goes on after"
        return (), (Finding("format", message, seq=0, line=1),)
    return tuple(_tell(one) for one in data.broken), ()


def _read(line: bytes) -> _Data | None:
    try:
        event: dict[str, Any] = msgspec.json.decode(line)["event"]
        return msgspec.convert(event["data"], _Data) if event["type"] in _TYPES else None
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None


def _tell(broken: _Broken) -> str:
    lost = broken.signed_size - broken.kept_size
    what = (
        f"{lost} signed entries were lost there, of which those that follow here are what the sources still had"
        if lost > 0
        else "what was kept is another history than what was signed"
    )
    return (
        f"succeeds {broken.log}: that was signed up to at least {broken.signed_size} entries "
        f"(root {broken.signed_root}), and {broken.kept_size} of them were kept (root {broken.kept_root}); {what}. "
        "A checkpoint of it that you kept, and that is larger, shows that more was lost"
    )
