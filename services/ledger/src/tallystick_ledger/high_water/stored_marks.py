"""One mark as an object of a store: its form, its place, and writes that hold only over what was read. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from tallystick_tlog import to_base64
from tallystick_tlog.encoding import from_base64
from tallystick_tlog.hashing import HASH_BYTES

from tallystick_ledger.high_water.mark import Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore import ObjectMeta, UpdateVersion
    from obstore.store import ObjectStore

_MARKS: Final = "marks"
_ENDING: Final = ".json"
_WITNESS: Final = "conditional-writes"
_NEVER_WRITTEN: Final[UpdateVersion] = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}


class HighWaterUnavailableError(OSError):
    """The store did not answer in time, or not as a store of marks has to."""


class ChangedError(Exception):
    """The object is not, or no longer, the one that was to be replaced."""


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    log: str
    root: str
    size: int


class FoundMark(NamedTuple):
    """A mark, and what names the state of its object: a write over it takes place only while that is there."""

    head: Head
    version: UpdateVersion


def get_mark(store: ObjectStore, name: str) -> FoundMark:
    """Return a log's mark.

    Raises:
        FileNotFoundError: there is none, or no such bucket.
        HighWaterUnavailableError: what is there is no mark of this log.
        obstore.exceptions.BaseError: the store did not answer, or refused.
    """
    answer = obstore.get(store, _path_of(name))
    try:
        read = msgspec.json.decode(answer.bytes().to_bytes(), type=_Mark)
        root = from_base64(read.root)
    except (msgspec.DecodeError, ValueError) as error:
        message = f"what the object store has for {name} is no high-water mark"
        raise HighWaterUnavailableError(message) from error
    if len(root) != HASH_BYTES or read.log != name or read.size < 1:
        message = f"what the object store has for {name} is not its high-water mark"
        raise HighWaterUnavailableError(message)
    return FoundMark(Head(read.size, root), _version_of(answer.meta))


def put_mark(store: ObjectStore, name: str, head: Head, over: UpdateVersion | None) -> UpdateVersion:
    """Put a log's mark ``over`` the object of that version, or where none is; return the new one's version.

    Raises:
        ChangedError: there is another object, or none any more.
        FileNotFoundError: there is no such bucket.
        obstore.exceptions.BaseError: the store did not answer, or refused: perhaps the mark is there all the same.
    """
    mark = msgspec.json.encode(_Mark(name, to_base64(head.root), head.size)) + b"\n"
    return _write(store, _path_of(name), mark, over)


def list_marks(store: ObjectStore) -> dict[str, UpdateVersion]:
    """Return the version of each log's object, as far as a list tells it; raises as the store does."""
    return {_log_of(one): _version_of(one) for page in obstore.list(store, prefix=_MARKS) for one in page}


def heeds_conditions(store: ObjectStore) -> bool:
    """Try on an object of no meaning whether writes hold only over what they name; raises as the store does."""
    _is_written(store, None)  # now it is there, once for all
    return not _is_written(store, None) and not _is_written(store, _NEVER_WRITTEN)


def _is_written(store: ObjectStore, over: UpdateVersion | None) -> bool:
    try:
        _write(store, _WITNESS, b"{}\n", over)
    except ChangedError:
        return False
    return True


def _write(store: ObjectStore, path: str, body: bytes, over: UpdateVersion | None) -> UpdateVersion:
    try:
        return _version_of(obstore.put(store, path, body, mode=over or "create", use_multipart=False))
    except (AlreadyExistsError, PreconditionError) as error:
        raise ChangedError from error
    except FileNotFoundError as error:
        if over is None:
            raise  # there is no such bucket
        raise ChangedError from error


def _version_of(answer: Mapping[str, object]) -> UpdateVersion:
    """Return what names this state of an object: the library takes no ``None`` back."""
    version: UpdateVersion = {}
    if (e_tag := answer.get("e_tag")) is not None:
        version["e_tag"] = str(e_tag)
    if (number := answer.get("version")) is not None:
        version["version"] = str(number)
    return version


def _path_of(name: str) -> str:
    return f"{_MARKS}/{name}{_ENDING}"


def _log_of(listed: ObjectMeta) -> str:
    return listed["path"].removeprefix(f"{_MARKS}/").removesuffix(_ENDING)
