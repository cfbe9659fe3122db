"""Epochs: every change that ends a session or moves a capability leaves a row in its own transaction.

Triggers write the rows, so that no statement can forget to (docs/adr/0039-epochs-and-a-watermark.md).

Revision ID: 0020
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import duty, silo

revision = "0020"
down_revision = "0011"
branch_labels = None
depends_on = None

SERVICE = "identity"

TABLES = (
    """
    create table identity.epochs_waiting (
        tenant_id uuid not null,
        id uuid not null default gen_random_uuid(),
        scope text not null check (scope in ('tenant', 'person', 'session')),
        subject text not null,
        primary key (tenant_id, id)
    )
    """,
    # One row: how many changes were announced. Whoever announces holds its lock.
    """
    create table identity.epoch_head (
        tenant_id uuid primary key check (tenant_id = '00000000-0000-0000-0000-000000000000'),
        number bigint not null
    )
    """,
    "insert into identity.epoch_head values ('00000000-0000-0000-0000-000000000000', 0)",
)

# The first argument is the scope, the second the column with the subject; further ones are columns whose change matters
# to nobody who remembers the session.
FUNCTION = """
create function identity.note_epoch() returns trigger language plpgsql as $$
declare
    changed jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
begin
    if tg_op = 'UPDATE' and to_jsonb(old) - tg_argv[2:] = changed - tg_argv[2:] then
        return null;
    end if;
    insert into identity.epochs_waiting (tenant_id, scope, subject)
    values ((changed ->> 'tenant_id')::uuid, tg_argv[0], changed ->> tg_argv[1]);
    return null;
end $$
"""

TRIGGERS = {
    "tenants": ("update", "'tenant', 'tenant_id'"),
    "org_units": ("insert or update or delete", "'tenant', 'tenant_id'"),
    "roles": ("update or delete", "'tenant', 'tenant_id'"),
    "grants": ("insert or update or delete", "'person', 'person'"),
    "people": ("update or delete", "'person', 'person'"),
    # Whether a person has a factor decides what a session may do; a code's step or a counter does not.
    "second_factors": ("insert or update or delete", "'person', 'person', 'last_step', 'sign_count', 'challenge'"),
    "sessions": (
        "update or delete",
        "'session', 'session_ref', 'refresh_hash', 'previous_hash', 'refreshed_at', 'label_ciphertext'",
    ),
}


def upgrade() -> None:
    """Create the tables, close them, and set the triggers."""
    for statement in TABLES:
        op.execute(statement)
    silo(op, SERVICE, "epochs_waiting", grants="insert")
    duty(op, SERVICE, "epochs_waiting", commands=("select", "delete"))
    silo(op, SERVICE, "epoch_head", grants="select")
    duty(op, SERVICE, "epoch_head", commands=("select", "update"))
    op.execute(FUNCTION)
    for table, (commands, arguments) in TRIGGERS.items():
        op.execute(
            f"create trigger epoch after {commands} on identity.{table} "
            f"for each row execute function identity.note_epoch({arguments})"
        )


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
