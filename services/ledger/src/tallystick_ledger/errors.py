"""What the ledger refuses: of events that reach it, and of requests."""

from __future__ import annotations

from enum import StrEnum

from tallystick_chassis.http.problems import Conflict, NotFound, Problem


class Refusal(StrEnum):
    """Why an event cannot be recorded."""

    BAD_SUBJECT = "bad_subject"
    BAD_SEQUENCE = "bad_sequence"
    BROKEN_CONTRACT = "broken_contract"
    WRONG_SUBJECT = "wrong_subject"
    WRONG_SOURCE = "wrong_source"
    TOO_LARGE = "too_large"
    CONFLICT = "conflict"


class RefusedEventError(Exception):
    """An event that cannot be recorded; ``detail`` names fields, never values."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class LedgerStateError(RuntimeError):
    """The ledger's own tables contradict each other. Nothing is recorded until someone has looked."""


class LogBusyError(Exception):
    """Another process holds the log's lock longer than we wait for it; try again."""


class LogFrozenError(LedgerStateError):
    """The database's log does not continue what was signed: an older backup was restored, or somebody rewrote it."""

    def __init__(self, origin: str, verdict: str, *, marked: int, kept: int) -> None:
        self.origin = origin
        super().__init__(f"log {origin} is {verdict}: signed up to {marked}, the database has {kept}")


class LogNotFound(NotFound):
    """No such log for this person."""


class EntryNotFound(NotFound):
    """No such entry in this log, or not yet at this size."""


class TileNotFound(NotFound):
    """The path names no tile, or the log is not that long."""


class LogDropped(Problem):
    """The log had expired, and its entries were deleted. Its name, size, root and checkpoints are still there."""

    status, code, title = 410, "log_dropped", "This log's entries were deleted after their retention"


class NoCheckpointAtSize(NotFound):
    """The log was never signed at this size."""


class NotExported(Conflict):
    """Downloads follow an export that was asked for, and so recorded."""

    code, title = "not_exported", "Nobody has asked for this export yet"


class LogFrozen(Conflict):
    """The log does not continue what was signed; an operator has to decide (docs/howto/restore-a-ledger.md)."""

    code, title = "log_frozen", "This log does not continue what was signed, and stands still"


class NotReady(Conflict):
    """The export's file is still being measured; its view says how far that is."""

    code, title = "not_ready", "This export is not ready yet; try again in a moment"


class DestinationNotFound(NotFound):
    """No such SIEM destination for this person, or it was removed."""


class DestinationNameTaken(Conflict):
    """Names are what operators tell destinations apart by."""

    code, title = "siem_name_taken", "A SIEM destination of this name is there already"


class TooManyDestinations(Conflict):
    """Each one is sent every entry."""

    code, title = "too_many_siem_destinations", "The tenant has as many SIEM destinations as it may have"


class DestinationPaused(Conflict):
    """Nothing is sent to it, a test neither."""

    code, title = "siem_paused", "This SIEM destination is paused"


class RangeNotSatisfiable(Problem):
    """The range begins behind the file's end; ``Content-Range`` says where that is."""

    status, code, title = 416, "range_not_satisfiable", "The file is not that long"


class BadRange(Problem):
    """The sizes or positions do not fit together."""

    status, code, title = 400, "bad_range", "These positions are not in the log"
