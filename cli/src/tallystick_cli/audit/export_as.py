"""A verified log as a table: CSV, Parquet, or its own lines."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO, Final, Literal

import msgspec
from tallystick_tlog import leaf_hash, to_base64

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.findings import DamagedLogError, Report
from tallystick_cli.audit.records import Record, read_record
from tallystick_cli.audit.tabular import csv_rows
from tallystick_cli.audit.walk import Walk

Format = Literal["csv", "ndjson", "parquet"]

ROWS_AT_ONCE: Final = 5_000
_NUMBERS: Final = frozenset({"seq", "source_seq", "stream_version", "v"})


class Row(msgspec.Struct, frozen=True):
    """An entry as a row, in the order of the columns; ``data`` is JSON text, ``prev`` and ``leaf_hash`` base64."""

    seq: int
    recorded: str
    source: str
    source_seq: int
    type: str
    v: int
    id: str
    time: str
    actor: str
    subject: str | None
    org_unit: str | None
    stream: str
    stream_version: int
    correlation: str | None
    causation: str | None
    trace: str | None
    data: str
    log: str
    prev: str
    leaf_hash: str


COLUMNS: Final = Row.__struct_fields__


def export_log(walk: Walk, kind: Format, file: BinaryIO, advance: Advance) -> Report:
    """Write a log's entries to an open file and say whether the log holds; NDJSON is the lines, byte for byte.

    Raises:
        AuditError: the source cannot be read, or Parquet is asked for and pyarrow is not installed.
        DamagedLogError: the log does not hold; what was written is worth nothing.

    """
    if kind == "ndjson":
        file.writelines(b"".join(line + b"\n" for line in lines) for _, lines in walk.lines(advance))
    elif kind == "csv":
        file.write(csv_rows([COLUMNS]))
        file.writelines(csv_rows(msgspec.structs.astuple(row) for row in rows) for rows in _rows(walk, advance))
    else:
        _write_parquet(walk, file, advance)
    report = walk.report()
    if report.status == "damaged":
        raise DamagedLogError(report)
    return report


def _rows(walk: Walk, advance: Advance) -> Iterator[list[Row]]:
    for _, lines in walk.lines(advance):
        for at in range(0, len(lines), ROWS_AT_ONCE):
            yield [_row(read_record(line), line) for line in lines[at : at + ROWS_AT_ONCE]]


def _row(record: Record, line: bytes) -> Row:
    event = record.event
    return Row(
        seq=record.seq,
        recorded=record.recorded,
        source=event.source,
        source_seq=record.source_seq,
        type=event.type,
        v=event.v,
        id=event.id,
        time=event.time,
        actor=event.actor,
        subject=event.subject,
        org_unit=event.org_unit,
        stream=event.stream,
        stream_version=event.stream_version,
        correlation=event.correlation,
        causation=event.causation,
        trace=event.trace,
        data=bytes(event.data).decode(),
        log=record.log,
        prev=record.prev,
        leaf_hash=to_base64(leaf_hash(line)),
    )


def _write_parquet(walk: Walk, file: BinaryIO, advance: Advance) -> None:
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        message = "Parquet needs pyarrow: pip install 'tallystick-cli[parquet]'"
        raise AuditError(message) from error
    schema = arrow.schema([(name, arrow.int64() if name in _NUMBERS else arrow.string()) for name in COLUMNS])
    # A row group for each batch: neither writer nor reader ever holds more than one.
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in _rows(walk, advance):
            columns = [[getattr(row, name) for row in rows] for name in COLUMNS]
            arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))
