"""What every service's first migration has in common: the tables of ``tables.py``, with silo and duty policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.policies import append_only, duty, silo
from tallystick_chassis.tables import METADATA

if TYPE_CHECKING:
    from alembic.operations import Operations

_READ = ("select",)


def create_chassis_tables(op: Operations, service: str) -> None:
    """Create events, outbox, feed, inbox and the other common tables, closed by row-level security."""
    connection = op.get_bind().execution_options(schema_translate_map={None: service})
    METADATA.create_all(connection, checkfirst=False)

    op.execute(f"create unique index events_event_id on {service}.events (tenant_id, event_id)")
    op.execute(f"create index events_correlation on {service}.events (tenant_id, correlation)")
    op.execute(
        f"create index events_idempotency_key on {service}.events (tenant_id, idempotency_key) "
        "where idempotency_key is not null"
    )
    op.execute(f"create index outbox_position on {service}.outbox (tenant_id, position)")
    op.execute(f"create index outbox_published_at on {service}.outbox (published_at)")
    op.execute(f"create unique index feed_event_id on {service}.feed (tenant_id, event_id)")
    op.execute(f"create index dead_letters_state on {service}.dead_letters (tenant_id, state, last_at)")

    silo(op, service, "events", by_unit=True)
    append_only(op, service, "events")
    silo(op, service, "outbox", grants="insert")
    silo(op, service, "feed", grants="select")
    append_only(op, service, "feed")
    silo(op, service, "feed_heads", grants="select")
    silo(op, service, "feed_locks", grants="select")
    silo(op, service, "inbox")
    silo(op, service, "source_cursors", grants="select, insert, update")
    silo(op, service, "dead_letters", grants="select, insert, update")
    silo(op, service, "idempotency", grants="select, insert, update")
    silo(op, service, "misses", grants="insert")
    silo(op, service, "directory_tenants", grants="select, insert, update")
    silo(op, service, "directory_people", by_unit=True, grants="select, insert, update")
    silo(op, service, "tenant_keys", grants="select, insert, update")

    duty(op, service, "events", commands=_READ)
    duty(op, service, "outbox", commands=("select", "update", "delete"))
    duty(op, service, "feed", commands=("select", "insert"))
    duty(op, service, "feed_heads", commands=("select", "insert", "update"))
    duty(op, service, "feed_locks", commands=("select", "insert", "update"))
    duty(op, service, "misses", commands=("select", "delete"))
    duty(op, service, "source_cursors", commands=_READ)
    duty(op, service, "dead_letters", commands=_READ)
    duty(op, service, "directory_tenants", commands=_READ)
