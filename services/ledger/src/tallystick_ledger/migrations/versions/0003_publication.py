"""The switch that lets anybody read a log's checkpoint and hash tiles, and the look-up that knows no tenant.

Revision ID: 0003
Revises: 0002
"""

from alembic import op
from tallystick_chassis.policies import app_role

revision = "0003"
down_revision = "0002"

SERVICE = "ledger"

_WANTED = "(select nullif(current_setting('app.open_log', true), '')::uuid)"

# It runs as the owner, whom row-level security binds too (FORCE): the owner's policy shows it the one log that it is
# looking for, if that one is published. See docs/adr/0022-open-logs.md.
_FIND_OPEN_LOG = """
create function ledger.find_open_log(wanted uuid) returns uuid
language plpgsql volatile strict security definer set search_path = pg_catalog, pg_temp as $$
declare
    found_tenant uuid;
begin
    perform set_config('app.open_log', wanted::text, true);
    select logs.tenant_id into found_tenant from ledger.logs where logs.id = wanted;
    perform set_config('app.open_log', '', true);
    return found_tenant;
end
$$
"""


def upgrade() -> None:
    """Add the switch, off, and the look-up."""
    op.execute("alter table ledger.logs add column published_at timestamptz")
    op.execute(f"grant update (published_at) on ledger.logs to {app_role(SERVICE)}")
    op.execute(
        f"create policy public_look_up on ledger.logs for select to tally_{SERVICE}_owner "
        f"using (published_at is not null and id = {_WANTED})"
    )
    op.execute("create index logs_published on ledger.logs (id) where published_at is not null")
    op.get_bind().exec_driver_sql(_FIND_OPEN_LOG)
    op.execute("revoke execute on function ledger.find_open_log(uuid) from public")
    op.execute(f"grant execute on function ledger.find_open_log(uuid) to {app_role(SERVICE)}")
