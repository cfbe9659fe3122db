"""A real process: it migrates, serves over TLS, says when it is not ready, and drains when it is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from tallystick_cli.stack import authority
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.layout import Layout
from tallystick_contracts.topology import ServiceName

MAIN = """
import asyncio
import gc
from litestar import get
from tallystick_chassis.process import main
from tallystick_chassis.service import Service, Wiring
from tallystick_chassis.settings import Settings
from tallystick_contracts.capabilities import Capability


async def hello(runtime, arguments):
    print("hello", *arguments)
    return 7


@get("/certs/verify/{token:str}", opt={"public": True})
async def slow(token: str) -> str:
    await asyncio.sleep(1.0)
    return token


@get("/certs/verify/{token:str}/proof", opt={"public": True})
async def proof(token: str) -> str:
    raise RuntimeError("canary")


@get("/certs/verify/{token:str}/entry", opt={"public": True})
async def entry(token: str) -> str:
    return token


async def spared_by_the_collector():
    assert gc.get_freeze_count() > 10_000, "the heap was not frozen"


def wire(runtime):
    return Wiring(routes=[slow, proof, entry], readiness={"heap": spared_by_the_collector})


main(Service("verification", "sample_service", Settings, wire, commands={"hello": hello}))
"""
MIGRATION = """
revision, down_revision = "0001", None


def upgrade():
    from alembic import op
    from tallystick_chassis.schema import create_chassis_tables
    create_chassis_tables(op, "verification")


def downgrade():
    raise NotImplementedError  # migrations only go forward
"""
HASTY = """
import runpy
from tallystick_chassis import process
process.DATABASE_WAIT_S = process.WAIT_S = 0.5
runpy.run_module("sample_service", run_name="__main__")
"""
NEXT_MIGRATION = """
revision, down_revision = "0002", "0001"


def upgrade():
    from alembic import op
    op.execute("comment on schema verification is 'later'")


def downgrade():
    raise NotImplementedError  # migrations only go forward
"""
SERVICE = ServiceName.VERIFICATION


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "sample_service"
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(MAIN)
    (versions / "0001_initial.py").write_text(MIGRATION)
    return tmp_path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    def __init__(self, package: Path, databases) -> None:
        self._package = package
        self._databases = databases
        self.port = _free_port()
        self.children: list[subprocess.Popen[str]] = []
        # `wait_ready` and the tests trust the test authority alone.
        self.tls = ssl.create_default_context(cafile=databases.servers.layout.ca_file)
        self.url = f"https://localhost:{self.port}"

    def environment(self, command: str) -> dict[str, str]:
        own = (
            self._databases.migration_environment(SERVICE)
            if command == "migrate"
            else {**self._databases.environment(SERVICE), "TALLY_PORT": str(self.port), "TALLY_DRAIN_S": "0.5"}
        )
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self._package), **own}

    def run(self, *command: str, hasty: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``hasty`` waits for half a second where a process waits for half a minute, or for ten."""
        program = ["-c", HASTY] if hasty else ["-m", "sample_service"]
        return subprocess.run(
            [sys.executable, *program, *command],
            env=self.environment(command[0]) | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, command: str, **more: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "sample_service", command],
            env=self.environment(command) | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.children.append(child)
        return child

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, verify=self.tls, timeout=10, trust_env=False)

    def get_or_none(self, path: str) -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            return self.get(path)
        return None

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = self.get_or_none("/ready")
            if answer is not None and answer.status_code == 200:
                return
            time.sleep(0.1)
        pytest.fail("the process did not become ready")


@pytest.fixture
def processes(package, databases):
    made = Processes(package, databases)
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def test_a_process_migrates_serves_and_drains(processes):
    refused = processes.run("api")
    assert (refused.returncode, "has no tables: run its migrations" in refused.stderr) == (1, True)
    assert processes.run("migrate").returncode == 0
    assert processes.run("migrate").returncode == 0
    said = processes.run("hello", "you")
    assert (said.returncode, "hello you" in said.stdout) == (7, True)

    child = processes.start("api")
    processes.wait_ready()
    health = processes.get("/api/v1/health")
    assert (health.status_code, "server" in health.headers, "connection" in health.headers) == (200, False, False)
    assert processes.get("/certs/verify/x/proof").json()["code"] == "internal_error"
    assert processes.get("/api/v1/verification/feed/x/y").status_code == 401

    answers: list[httpx.Response] = []
    running = threading.Thread(target=lambda: answers.append(processes.get("/certs/verify/abc")))
    running.start()
    time.sleep(0.4)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    draining = processes.get("/ready")
    assert (draining.status_code, draining.json()["failing"]) == (503, ["draining"])
    assert draining.headers["connection"] == "close"  # so that whoever keeps connections open leaves in time
    stopped_at = time.monotonic()
    output, _ = child.communicate(timeout=10)
    running.join()
    assert time.monotonic() - stopped_at < 10
    assert child.returncode == 0
    assert [answer.text for answer in answers] == ["abc"]
    assert "canary" not in output
    assert '"error": "RuntimeError"' in output


def test_a_process_that_cannot_listen_says_so(processes):
    processes.run("migrate")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", processes.port))
        taken.listen()
        refused = processes.run("api")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(f"tallystick: cannot listen on 127.0.0.1 port {processes.port}")


@pytest.mark.control("EV-11c")
def test_a_process_refuses_to_serve_when_a_table_is_open(processes, databases):
    processes.run("migrate")
    run_sql(databases.servers, databases.name, ["alter table verification.events no force row level security"])
    refused = processes.run("api")
    assert refused.returncode == 1
    assert "table events does not force row-level security" in refused.stderr


@pytest.mark.control("EN-01")
def test_a_process_says_in_its_last_words_why_it_cannot_start(processes, databases, tmp_path):
    said = tmp_path / "termination-log"
    right = processes.environment("api")["TALLY_DSN"]
    user, _, rest = right.partition("@")
    wrong = {
        "database_password_refused: the database refuses the role's password; see TALLY_DSN": (
            f"{user.rpartition(':')[0]}:canary@{rest}"
        ),
        "database_missing: there is no database of that name; see TALLY_DSN": f"{user}@{rest.partition('/')[0]}/gone",
        "sslmode=require is not for the database at 127.0.0.1: use sslmode=verify-full": f"{right}?sslmode=require",
    }
    for words, dsn in wrong.items():
        refused = processes.run("api", TALLY_DSN=dsn, TALLY_TERMINATION_LOG=str(said))
        assert refused.returncode == 1
        assert said.read_text() == refused.stderr.splitlines()[-1] == f"tallystick: {words}"
        assert "canary" not in refused.stdout + refused.stderr
    refused = processes.run("api", TALLY_PORT="", TALLY_TERMINATION_LOG=str(said))
    assert refused.returncode == 2
    assert said.read_text().startswith("tallystick: setting TALLY_PORT is missing")
    refused = processes.run("migrate", TALLY_MIGRATE_DSN=f"{user}@{rest}", TALLY_TERMINATION_LOG=str(said))
    assert refused.returncode == 1  # the runtime role owns nothing
    assert databases.name not in said.read_text()


@pytest.mark.control("EN-01")
def test_a_database_that_cannot_be_used_is_named_in_the_last_words(processes, databases, tmp_path):
    assert processes.run("migrate").returncode == 0
    said = tmp_path / "termination-log"
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(_another_authority(tmp_path))
    wrong = {
        "database_unreachable: the database does not answer (ConnectionRefusedError); see TALLY_DSN": {
            "TALLY_DSN": f"postgresql://tally@127.0.0.1:{_free_port()}/tally"
        },
        "database_certificate_refused: the database's certificate is not to be trusted; see TALLY_DSN": {
            "TALLY_CA_FILE": str(stranger)
        },
        "database_privilege_missing: the role may not do that in the database; see TALLY_DSN": {
            "TALLY_DSN": databases.dsn(ServiceName.LEDGER, "app").replace(databases.name, databases.keys_name)
        },
    }
    for words, settings in wrong.items():
        refused = processes.run("api", hasty=True, TALLY_TERMINATION_LOG=str(said), **settings)
        assert refused.returncode == 1
        assert said.read_text() == refused.stderr.splitlines()[-1] == f"tallystick: {words}"
    missing = processes.run("api", TALLY_DSN="", TALLY_DSN_FILE="/nowhere/dsn", TALLY_TERMINATION_LOG=str(said))
    assert missing.returncode == 2
    assert said.read_text().startswith("tallystick: setting TALLY_DSN")


def _another_authority(folder: Path) -> bytes:
    other = Layout.at(folder / "other")
    for one in (other.secrets, other.authority):
        one.mkdir(parents=True)
    authority.ensure_authority(other)
    return other.ca_file.read_bytes()


@pytest.mark.control("EN-01")
def test_a_schema_behind_the_code_is_named_and_gets_no_requests(processes, package, tmp_path):
    assert processes.run("migrate").returncode == 0
    (package / "sample_service/migrations/versions/0002_later.py").write_text(NEXT_MIGRATION)
    said = tmp_path / "termination-log"
    waited = processes.run("wait", hasty=True, TALLY_TERMINATION_LOG=str(said))
    assert waited.returncode == 1
    assert said.read_text().startswith(
        "tallystick: schema_behind: the database is not what this release needs (migrations)"
    )
    child = processes.start("api")
    deadline = time.monotonic() + 20
    while (answer := processes.get_or_none("/ready")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (answer.status_code, answer.json()["failing"]) == (503, ["migrations"])
    assert processes.run("migrate").returncode == 0
    processes.wait_ready()
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    assert '"check": "migrations"' in output


def test_wait_ends_when_the_schema_has_come(processes):
    waiting = processes.start("wait")
    time.sleep(2)
    assert waiting.poll() is None
    assert processes.run("migrate").returncode == 0
    waiting.communicate(timeout=20)
    assert waiting.returncode == 0


def test_a_release_that_was_rolled_back_leaves_a_newer_schema_alone(processes, databases):
    assert processes.run("migrate").returncode == 0
    run_sql(databases.servers, databases.name, ["update verification.alembic_version set version_num = '9999'"])
    again = processes.run("migrate")
    assert (again.returncode, "schema_is_newer" in again.stdout) == (0, True)
    processes.start("api")
    processes.wait_ready()


def test_a_worker_answers_a_kubelet(processes):
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    assert processes.run("migrate").returncode == 0
    child = processes.start("worker", TALLY_WORKER_PORT=str(port))
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = httpx.get(f"{url}/ready", trust_env=False)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert (answer.status_code, answer.text) == (200, "ready\n")
    assert httpx.get(f"{url}/live", trust_env=False).status_code == 200
    assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 404
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"\x00" * 8_192)
        rude.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert rude.recv(1) == b""
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=15)
    assert child.returncode == 0
