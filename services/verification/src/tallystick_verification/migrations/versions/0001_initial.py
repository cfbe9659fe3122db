"""The public read model, and the one function through which it is read without a tenant."""

from alembic import op
from tallystick_chassis.policies import app_role, append_only, duty, silo
from tallystick_chassis.schema import create_chassis_tables

revision = "0001"
down_revision = None

_SERVICE = "verification"
_OWNER = "tally_verification_owner"
_WANTED = "(select nullif(current_setting('app.public_reference', true), ''))"


def upgrade() -> None:
    """Create the service's tables and the look-up."""
    create_chassis_tables(op, _SERVICE)
    op.execute(
        "create table verification.credentials ("
        " tenant_id uuid not null, reference text not null, event_id uuid not null, commitment text not null,"
        " credential_type text not null, issuer text not null, issued_at timestamptz not null, expires_at timestamptz,"
        " proof_state text not null default 'pending' check (proof_state in ('pending', 'verified', 'refused')),"
        " proof_due_at timestamptz not null, proof_tries integer not null default 0, proof_checked_at timestamptz,"
        " line bytea, proof bytea, log text, seq bigint, tree_size bigint, vkey text,"
        " primary key (tenant_id, reference), unique (tenant_id, event_id),"
        " check (num_nonnulls(line, proof, log, seq, tree_size, vkey)"
        " = case proof_state when 'verified' then 6 else 0 end))"
    )
    silo(op, _SERVICE, "credentials")
    # What was published never changes; only the proof is added to it.
    op.execute(
        "grant update (proof_state, proof_due_at, proof_tries, proof_checked_at, line, proof, log, seq, tree_size,"
        f" vkey) on verification.credentials to {app_role(_SERVICE)}"
    )
    op.execute(
        "create index credentials_due on verification.credentials (proof_due_at, tenant_id)"
        " where proof_state <> 'verified'"
    )
    duty(op, _SERVICE, "credentials", commands=("select",), columns="tenant_id, reference, proof_state, proof_due_at")

    op.execute(
        "create table verification.withdrawals ("
        " tenant_id uuid not null, reference text not null, event_id uuid not null, withdrawn_at timestamptz not null,"
        " primary key (tenant_id, reference))"
    )
    silo(op, _SERVICE, "withdrawals")
    append_only(op, _SERVICE, "withdrawals")
    _create_look_up()


def _create_look_up() -> None:
    """Create ``find_credential(reference)``, which alone reads past the silo.

    It runs as the owner, whom row-level security binds too (FORCE). The owner's policies show it the rows of the one
    reference that the function is looking for, and of the cursors those that say how fresh the read model is.
    See docs/adr/0021-verification-look-up-without-a-tenant.md.
    """
    for table in ("credentials", "withdrawals"):
        op.execute(
            f"create policy public_look_up on verification.{table} for select to {_OWNER} using (reference = {_WANTED})"
        )
    op.execute(
        f"create policy public_freshness on verification.source_cursors for select to {_OWNER} using ("
        "consumer = 'verification' and source = 'assessment' and aggregate = 'credential')"
    )
    # Not unique, so that a write never tells whether another tenant has the reference.
    op.execute("create index credentials_reference on verification.credentials (reference)")
    op.execute(
        "create function verification.find_credential(wanted text) returns table ("
        " credential_type text, issuer text, issued_at timestamptz, expires_at timestamptz, withdrawn_at timestamptz,"
        " proof_state text, line bytea, proof bytea, log text, seq bigint, tree_size bigint, as_of timestamptz)"
        " language plpgsql volatile strict security definer rows 1 set search_path = pg_catalog, pg_temp as $$"
        " begin"
        "  perform set_config('app.public_reference', wanted, true);"
        "  return query"
        "  select c.credential_type, c.issuer, c.issued_at, c.expires_at, w.withdrawn_at,"
        "   c.proof_state, c.line, c.proof, c.log, c.seq, c.tree_size, f.as_of"
        "  from verification.credentials c"
        "  left join verification.withdrawals w on w.tenant_id = c.tenant_id and w.reference = c.reference"
        "  left join verification.source_cursors f on f.tenant_id = c.tenant_id"
        "   and f.consumer = 'verification' and f.source = 'assessment' and f.aggregate = 'credential'"
        "  where c.reference = wanted"
        # A reference that two tenants claim says nothing about either.
        "   and not exists (select from verification.credentials o"
        "    where o.reference = wanted and o.tenant_id <> c.tenant_id);"
        "  perform set_config('app.public_reference', '', true);"
        " end $$"
    )
    op.execute("revoke execute on function verification.find_credential(text) from public")
    op.execute(f"grant execute on function verification.find_credential(text) to {app_role(_SERVICE)}")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
