"""The ledger's composition root."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tallystick_chassis.catch_up import HttpFeed, OwnFeed
from tallystick_chassis.database import DutyDatabase
from tallystick_chassis.dead_letter_command import dead_letter_command
from tallystick_chassis.metrics import is_on
from tallystick_chassis.rewrapping import rewrap_command
from tallystick_chassis.service import Job, Runtime, Service, Wiring
from tallystick_chassis.settings import SettingsError
from tallystick_chassis.trace_command import trace_command
from tallystick_contracts.generated.ledger import SiemKeyRotated
from tallystick_contracts.topology import EVENT_STREAM, ServiceName
from tallystick_tlog import VerifierKey

from tallystick_ledger.consumers import HANDLERS
from tallystick_ledger.exports.api import export_routes
from tallystick_ledger.exports.command import export
from tallystick_ledger.exports.preparing import ExportPreparer
from tallystick_ledger.high_water.command import log_command
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.place import open_marks
from tallystick_ledger.high_water.refill import REFILL_INTERVAL_S, Refill
from tallystick_ledger.high_water.watch import WATCH_INTERVAL_S, BreakWatch
from tallystick_ledger.keys.command import rotate_key
from tallystick_ledger.keys.ring import KeyRing, KeyRingError
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.logs.closing import LogCloser
from tallystick_ledger.logs.continuing import checkpoints
from tallystick_ledger.logs.examining import CHECKS
from tallystick_ledger.logs.measuring import MEASURE_INTERVAL_S, LogMeasurer
from tallystick_ledger.reading.api import reading_routes
from tallystick_ledger.retention.command import hold
from tallystick_ledger.retention.dropping import LogDropper
from tallystick_ledger.search.api import search_routes
from tallystick_ledger.search.indexing import Indexer
from tallystick_ledger.search.tracing import recorded
from tallystick_ledger.settings import Settings
from tallystick_ledger.siem.api import siem_routes
from tallystick_ledger.siem.command import siem_command
from tallystick_ledger.siem.parts import open_box, open_outbound
from tallystick_ledger.siem.receivers import receivers
from tallystick_ledger.siem.rewrapping import SiemSecrets
from tallystick_ledger.siem.streaming import MEASURE_INTERVAL_S as SIEM_MEASURE_INTERVAL_S
from tallystick_ledger.siem.streaming import STREAMING_INTERVAL_S, Stores, Streamer
from tallystick_ledger.siem.streaming import count_from_nothing as count_no_batches
from tallystick_ledger.tiles.api import tile_routes
from tallystick_ledger.writing.api import writing_routes
from tallystick_ledger.writing.connection import raw_transaction
from tallystick_ledger.writing.hand_over import AskNobody, HandOverDesk
from tallystick_ledger.writing.job import WriterJob
from tallystick_ledger.writing.quarantined import quarantined
from tallystick_ledger.writing.writer import LedgerWriter, count_from_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick_chassis.bus import Bus
    from tallystick_chassis.catch_up import FeedClient
    from tallystick_chassis.service import Closable

    from tallystick_ledger.logs.domain import Log, LogKey

_CLOSING_INTERVAL_S = 30.0
_INDEXING_INTERVAL_S = 0.5
_COMPACTING_INTERVAL_S = 3600.0
_EXPORTING_INTERVAL_S = 1.0


def wire(runtime: Runtime) -> Wiring:
    """Wire routes, handlers and jobs to one running process.

    Raises:
        SettingsError: the checkpoint key is not the one whose public half everyone was told.
    """
    settings: Settings = runtime.settings
    keys = CheckpointKeys(_ring(settings), settings.ledger_origin)

    def vkey_of(log: Log) -> str:
        return str(VerifierKey.ed25519(log.origin, log.key.public if log.key else settings.ledger_key))

    async def chain_of(key: LogKey | None) -> tuple[str, ...]:
        async with raw_transaction(runtime.duty) as connection:
            return await keys.chain(connection, key.public if key else None)

    public_url = settings.public_url.rstrip("/")
    marks = open_marks(settings)
    guard = HighWaterGuard(marks)
    watch = BreakWatch(duty=runtime.duty, marks=marks, prefix=settings.ledger_origin, clock=runtime.clock)
    closer = LogCloser(database=runtime.database, duty=runtime.duty, clock=runtime.clock, watch=watch)
    writer_with = partial(_writer, runtime, settings, keys, guard)
    desk = HandOverDesk(writer=writer_with(AskNobody()), duty=runtime.duty)
    exports = ExportPreparer(runtime.duty)
    outbound, box = open_outbound(settings), open_box(settings)
    dropper = _dropper(runtime, settings)
    streamer = Streamer(
        stores=Stores(runtime.database, runtime.duty, guard, runtime.clock),
        receivers=receivers(outbound=outbound, box=box, clock=runtime.clock),
        version=SERVICE.version,
    )
    return Wiring(
        routes=(
            *reading_routes(database=runtime.database, vkey_of=vkey_of, chain_of=chain_of, high_water=guard),
            *search_routes(runtime.database, guard),
            *export_routes(
                database=runtime.database,
                public_url=public_url,
                first_key=settings.ledger_key,
                high_water=guard,
            ),
            *tile_routes(database=runtime.database, public_url=public_url, vkey_of=vkey_of, high_water=guard),
            *writing_routes(desk),
            *siem_routes(database=runtime.database, outbound=outbound, box=box),
        ),
        handlers=HANDLERS,
        jobs=(
            *((Job("drop-expired-logs", dropper.step, interval_s=_CLOSING_INTERVAL_S),) if dropper else ()),
            Job("watch-high-water", watch.step, interval_s=WATCH_INTERVAL_S),
            Job("compact-high-water", marks.compact, interval_s=_COMPACTING_INTERVAL_S),
            Job("close-audit-logs", closer.step, interval_s=_CLOSING_INTERVAL_S),
            Job("export-files", exports.measure, interval_s=_EXPORTING_INTERVAL_S),
            Job("export-digests", exports.hash, interval_s=_EXPORTING_INTERVAL_S),
            *((Job("measure-logs", LogMeasurer(runtime.duty).step, interval_s=MEASURE_INTERVAL_S),) if is_on() else ()),
            Job("search-index", Indexer(runtime.duty).step, interval_s=_INDEXING_INTERVAL_S),
        ),
        miss_tables=("logs", "siem_destinations"),
        bus_jobs=lambda bus, closing: [
            *_writer_jobs(runtime, writer_with, bus, closing),
            *_streaming_jobs(streamer, closing),
        ],
        closing=(dropper,) if dropper else (),
    )


def _dropper(runtime: Runtime, settings: Settings) -> LogDropper | None:
    if settings.purge_dsn is None:
        return None
    purge = DutyDatabase(
        settings.purge_dsn,
        runtime.service,
        pool_size=1,
        application_name=f"{runtime.service}-purge",
        ca_file=settings.ca_file,
        clock=runtime.clock,
    )
    return LogDropper(
        database=runtime.database,
        duty=runtime.duty,
        purge=purge,
        clock=runtime.clock,
        retention_months=settings.audit_retention_months,
    )


def _ring(settings: Settings) -> KeyRing:
    ring = KeyRing(settings.checkpoint_key, settings.checkpoint_keys_dir)
    try:
        found = ring.read()
    except KeyRingError as error:
        raise SettingsError([f"setting TALLY_CHECKPOINT_KEYS_DIR is invalid: {error}"]) from error
    if settings.ledger_key not in found:
        problem = "TALLY_LEDGER_KEY is another key's public half, and none in TALLY_CHECKPOINT_KEYS_DIR is its"
        raise SettingsError([f"setting TALLY_CHECKPOINT_KEY is invalid: {problem}"])
    return ring


def _writer(
    runtime: Runtime, settings: Settings, keys: CheckpointKeys, guard: HighWaterGuard, feeds: FeedClient
) -> LedgerWriter:
    return LedgerWriter(
        duty=runtime.duty,
        feeds=feeds,
        prefix=settings.ledger_origin,
        keys=keys,
        clock=runtime.clock,
        high_water=guard,
    )


def _writer_jobs(
    runtime: Runtime, writer_with: Callable[[FeedClient], LedgerWriter], bus: Bus, closing: list[Closable]
) -> Sequence[Job]:
    settings: Settings = runtime.settings
    urls = {str(source): url for source in ServiceName if (url := settings.url_of(source)) is not None}
    feeds = HttpFeed(runtime.service_client, urls, own=OwnFeed(runtime.database))
    writer = writer_with(feeds)
    pull = bus.pull(stream=EVENT_STREAM, durable=str(ServiceName.LEDGER))
    writing = WriterJob(writer=writer, source=pull, receipts=bus)
    closing += (writing, pull)
    count_from_nothing()
    refill = Refill(duty=runtime.duty, feeds=feeds, writer=writer, clock=runtime.clock)
    return (
        Job("writer", writing.step, interval_s=0.0),
        Job("refill-successors", refill.step, interval_s=REFILL_INTERVAL_S),
    )


def _streaming_jobs(streamer: Streamer, closing: list[Closable]) -> Sequence[Job]:
    closing.append(streamer)
    count_no_batches()
    jobs = [Job("siem", streamer.step, interval_s=STREAMING_INTERVAL_S)]
    return [*jobs, Job("measure-siem", streamer.measure, interval_s=SIEM_MEASURE_INTERVAL_S)] if is_on() else jobs


GUARDS: Final = frozenset(
    {
        "entries.leaf_is_hash_of_line",
        "entries.line_says_what_columns_say",
        "entries.line_fits_and_numbers_count",
        "entries.entries_event_once",
        "entries.entries_source_seq_once",
        "entries.entries_continue_log",
        "entries.append_only",
        "tree_hashes.append_only",
        "checkpoints.append_only",
        "logs.guard_log",
        "logs.guard_key",
        "logs.keep_logs",
        "logs.guard_retention",
        "entries.only_dropped",
        "tree_hashes.only_dropped",
        "holds.guard_hold",
        "key_statements.append_only",
        "key_changes.append_only",
        "export_parts.append_only",
    }
)
"""What keeps a row out that does not continue its log; without one of them the ledger does not start."""

SERVICE = Service(
    name="ledger",
    package="tallystick_ledger",
    settings=Settings,
    wire=wire,
    commands={
        "checkpoints": checkpoints,
        "dlq": dead_letter_command(quarantined),
        "export": export,
        "hold": hold,
        "log": log_command,
        "rewrap-keys": rewrap_command(SiemKeyRotated, SiemSecrets),
        "rotate-key": rotate_key,
        "siem": siem_command,
        "trace": trace_command(recorded),
    },
    guards=GUARDS,
    checks=CHECKS,
)
