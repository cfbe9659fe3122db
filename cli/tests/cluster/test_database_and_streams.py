"""Roles, schemas and streams are made on real servers, by an administrator who need not be a superuser."""

import secrets
import ssl

import nats as nats_client
import pytest
from tallystick_chassis.bootstrap import RolePasswords, login_kinds
from tallystick_cli.cluster import database, streams
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.stack.database_setup import database_password, migrate, run_sql
from tallystick_cli.stack.services import database_role
from tallystick_contracts.topology import ServiceName


@pytest.fixture
def administrator(stack):
    """A managed service's administrator: createrole and createdb, no superuser."""
    stack.fresh_databases()  # so that the roles are there
    servers, name = stack.servers, f"admin_{secrets.token_hex(4)}"
    run_sql(servers, "postgres", [f"create role {name} login createrole createdb password 'secret'"])
    # On a managed server it made the roles itself; here others have. Before Postgres 16 createrole is enough.
    roles = [f"tally_{each}_{kind}" for each in ServiceName for kind in ("owner", *login_kinds(each))]
    if int(run_sql(servers, "postgres", ["show server_version_num"])) >= 160_000:
        options = "admin option, inherit false, set false"
        run_sql(servers, "postgres", [f"grant {', '.join(roles)} to {name} with {options}"])
    return servers.postgres.dsn("postgres", role=name, password="secret")


def passwords_of(servers):
    return {
        each: RolePasswords(
            **{kind: database_password(servers.layout, database_role(each, kind)) for kind in login_kinds(each)}
        )
        for each in ServiceName
    }


async def test_an_administrator_without_superuser_prepares_a_server(stack, administrator):
    servers = stack.servers
    names = {"database": f"t_{secrets.token_hex(4)}", "keys_database": f"k_{secrets.token_hex(4)}"}
    for _ in range(2):
        await database.apply(administrator, passwords_of(servers), **names, ca_file=servers.layout.ca_file, timeout_s=5)
    migrate(servers, **names)
    found = run_sql(servers, names["database"], ["select count(*) from ledger.logs"])
    assert found.strip() == "0"


async def test_a_wrong_administrator_is_told_so_without_the_password(stack, administrator):
    wrong = administrator.replace(":secret@", ":canary@")
    with pytest.raises(ClusterError, match="password authentication failed") as refused:
        await database.apply(
            wrong,
            passwords_of(stack.servers),
            database="x",
            keys_database="y",
            ca_file=stack.ca_file,
            timeout_s=1,
        )
    assert "canary" not in str(refused.value)


async def test_streams_are_put_back_and_a_stranger_cannot(stack):
    url, ca_file = stack.nats_url, stack.ca_file
    await streams.put(url, stack.nats_seed("admin").read_text(), ca_file, 1, 5)
    with pytest.raises(ClusterError, match="nats_unreachable"):
        await streams.put(url, stack.nats_seed("ledger").read_text(), ca_file, 1, 0)
    connection = await nats_client.connect(
        url, nkeys_seed_str=stack.nats_seed("admin").read_text(), tls=ssl.create_default_context(cafile=str(ca_file))
    )
    try:
        assert {one.config.name for one in await connection.jetstream().streams_info()} == {"EVT", "RCPT"}
    finally:
        await connection.close()
