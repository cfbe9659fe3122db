"""What the containers of `TALLY_STACK=containers` are, looked at without an engine."""

import gc
import os
import re
import ssl
from pathlib import Path

import asyncpg
import pytest
import testcontainers.core.container
from containers.running import container_of, container_servers
from containers.specification import image_of, nats_container, postgres_container
from tallystick_cli.stack import authority, nats, postgres, state
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_contracts.topology import ServiceName

NOWHERE = "unix:///nowhere/docker.sock"
PORTS = state.State({"postgres": 15_001, "nats": 15_002, "nats-monitor": 15_003})
FILES = ("/tally/server.pem", "/tally/server.key")


@pytest.fixture
def layout():
    with temporary_folder() as made:
        made.create()
        authority.ensure_authority(made)
        yield made


@pytest.fixture
def specifications(layout):
    both = postgres_container(layout, PORTS, password="p"), nats_container(layout, PORTS)
    return {each.name: each for each in both}


def test_the_images_are_the_charts_unless_others_are_named(monkeypatch):
    values = (Path(__file__).parents[2] / "deploy/helm/tallystick/values.yaml").read_text()
    for server in ("postgres", "nats"):
        monkeypatch.delenv(f"TALLY_{server.upper()}_IMAGE", raising=False)
        assert f"image: {image_of(server)}\n" in values
        monkeypatch.setenv(f"TALLY_{server.upper()}_IMAGE", "registry.example.org/another:1")
        assert image_of(server) == "registry.example.org/another:1"


def test_postgres_has_the_embedded_ones_settings_and_takes_nobody_from_outside_without_tls(specifications):
    database = specifications["postgres"]
    told = set(database.command)
    assert {f"{name}={value}" for name, value in postgres.SETTINGS.items() if name not in postgres.HASTE} <= told
    assert {f"{name}={value}" for name, value in postgres.HASTE.items()} <= told
    rules = [line for line in database.files[Path("/tally/pg_hba.conf")].decode().splitlines() if line[0] != "#"]
    assert rules == ["local all postgres scram-sha-256", "hostssl all all all scram-sha-256"]
    assert database.environment["POSTGRES_PASSWORD"] == "p"
    assert "exec docker-entrypoint.sh" in database.command[2]


def test_nats_has_the_embedded_ones_accounts(specifications, layout):
    broker = specifications["nats"]
    inside = broker.files[Path("/tally/nats.conf")].decode()
    embedded = nats.prepare(layout, port=1, monitor_port=2).program.command[-1]
    assert inside.partition("\naccounts ")[2] == Path(embedded).read_text().partition("\naccounts ")[2] != ""
    for service in ServiceName:
        assert nats.public_key_of(nats.seed_file(layout, service).read_bytes()) in inside
    assert "sync_interval: always" in inside
    assert not re.search(r"\bSU[A-Z2-7]{40,}", inside)  # no seed


def test_certificates_and_keys_are_the_stacks_own(specifications, layout):
    for name, each in specifications.items():
        found = [each.files[Path(path)] for path in FILES]
        assert found == [path.read_bytes() for path in authority.ensure_server(layout, name)]


def test_the_library_is_told_all_of_it_and_publishes_on_loopback_alone(specifications, monkeypatch):
    monkeypatch.setattr(testcontainers.core.container, "DockerClient", lambda: None)  # it asks the engine at once
    for each in specifications.values():
        container = container_of(each)
        assert container.image == each.image
        assert container._command == list(each.command)
        assert container.ports == {f"{inside}/tcp": ("127.0.0.1", outside) for inside, outside in each.ports.items()}
        assert {path: content for content, path, _ in container._transferable_specs} == {
            str(path): content for path, content in each.files.items()
        }
        assert container.env == dict(each.environment)
        assert set(container.tmpfs) == {str(folder) for folder in each.in_memory}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # docker-py's, which it could not connect
def test_without_an_engine_a_sentence_says_so(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    with pytest.raises(StackError, match="needs a Docker engine, and none answers"), container_servers():
        pytest.fail("there is no engine there")
    gc.collect()


@pytest.mark.skipif(
    os.environ.get("TALLY_STACK") != "containers", reason="TALLY_STACK=containers runs the real containers"
)
async def test_the_running_containers_speak_tls_and_hold_every_services_roles(stack):
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    connection = await asyncpg.connect(stack.fresh_databases(migrated=True).superuser_dsn(), ssl=context)
    roles = {role["rolname"] for role in await connection.fetch("select rolname from pg_roles")}
    assert {f"tally_{each}_app" for each in ServiceName} <= roles
    assert await connection.fetchval("show fsync") == "off"
    assert stack.servers.nats.holdings() is not None
    await connection.close()
