"""The tables that every service has, as SQLAlchemy Core sees them. ``schema.py`` creates them; stores use them.

Written without a schema; ``Database`` translates to the service's own (``schema_translate_map``).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, DateTime, Identity, Integer, LargeBinary, MetaData, Table, Text, Uuid

METADATA = MetaData()
_TIME = DateTime(timezone=True)


def _tenant() -> Column[object]:
    return Column("tenant_id", Uuid, primary_key=True)


events = Table(
    "events",
    METADATA,
    _tenant(),
    Column("stream", Text, primary_key=True),
    Column("stream_version", Integer, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    Column("org_unit_id", Uuid, nullable=False),
    Column("idempotency_key", Text),
    Column("correlation", Text, nullable=False),
    Column("client_correlation", Text),
    Column("body", LargeBinary, nullable=False),
    Column("stored_at", _TIME, nullable=False),
)
outbox = Table(
    "outbox",
    METADATA,
    _tenant(),
    Column("event_id", Uuid, primary_key=True),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("aggregate", Text, nullable=False),
    Column("published_at", _TIME),
    Column("attempts", Integer, nullable=False, server_default="0"),
)
feed = Table(
    "feed",
    METADATA,
    _tenant(),
    Column("aggregate", Text, primary_key=True),
    Column("source_seq", BigInteger, primary_key=True),
    Column("event_id", Uuid, nullable=False),
)
feed_heads = Table(
    "feed_heads",
    METADATA,
    _tenant(),
    Column("aggregate", Text, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
)
feed_locks = Table("feed_locks", METADATA, _tenant())
inbox = Table(
    "inbox",
    METADATA,
    _tenant(),
    Column("consumer", Text, primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("handled_at", _TIME, nullable=False),
)
source_cursors = Table(
    "source_cursors",
    METADATA,
    _tenant(),
    Column("consumer", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("aggregate", Text, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("as_of", _TIME),
)
dead_letters = Table(
    "dead_letters",
    METADATA,
    _tenant(),
    Column("consumer", Text, primary_key=True),
    Column("event_id", Uuid, primary_key=True),
    Column("source", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    Column("source_seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", _TIME, nullable=False),
    Column("last_at", _TIME, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
)
idempotency = Table(
    "idempotency",
    METADATA,
    _tenant(),
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("correlation", Text, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Column("created_at", _TIME, nullable=False),
)
misses = Table(
    "misses",
    METADATA,
    _tenant(),
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("route", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("correlation", Text, nullable=False),
    Column("at", _TIME, nullable=False),
)
directory_tenants = Table(
    "directory_tenants", METADATA, _tenant(), Column("slug", Text, nullable=False), Column("name", Text, nullable=False)
)
directory_people = Table(
    "directory_people",
    METADATA,
    _tenant(),
    Column("person", Text, primary_key=True),
    Column("org_unit_id", Uuid, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public_key", LargeBinary),
    Column("erased_at", _TIME),
)
tenant_keys = Table(
    "tenant_keys",
    METADATA,
    _tenant(),
    Column("day", Date, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
)
