"""The containers, running for the length of a `with` block."""

import contextlib
import time
from collections.abc import Callable, Iterator

import docker
import pytest
from docker.errors import DockerException
from tallystick_cli.stack import authority, nats, postgres, postgres_home, secret_files, state
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.errors import ServerFailedError, StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import FOLDERS, MAIL_PORT, Servers
from tallystick_cli.stack.temporary import RunningServers, temporary_folder
from testcontainers.core.container import DockerContainer

from containers.specification import Specification, nats_container, postgres_container

_START_TIMEOUT_S = 60.0
_POLL_S = 0.1
_SHOWN_BYTES = 600


class ContainerServers(RunningServers):
    """Servers whose processes are the engine's: tests that freeze or kill one are left out."""

    @property
    def postgres(self) -> Child:
        """Skip the test that asks."""
        pytest.skip("Postgres runs in a container here, and this test wants its process")

    @property
    def nats(self) -> Child:
        """Skip the test that asks."""
        pytest.skip("NATS runs in a container here, and this test wants its process")


@contextlib.contextmanager
def container_servers() -> Iterator[RunningServers]:
    """Start Postgres and NATS in containers, with roles, empty databases, streams and durables.

    Raises:
        StackError: no Docker engine answers.
        ServerFailedError: a container ended or was not ready in time; the end of what it said is in the message.
    """
    require_engine()
    with temporary_folder() as layout, contextlib.ExitStack() as stack:
        layout.create()
        authority.ensure_authority(layout)
        reserved = state.reserve(layout, ("postgres", "nats", "nats-monitor", MAIL_PORT, *FOLDERS))
        servers = _described(layout, reserved)
        database = postgres_container(layout, reserved, password=servers.postgres.password)
        for specification, is_ready in (
            (database, servers.postgres.is_ready),
            (nats_container(layout, reserved), servers.nats.is_ready),
        ):
            _wait_until(is_ready, specification, stack.enter_context(container_of(specification)))
        running = ContainerServers(servers, {})
        running.reset_broker()
        yield running


def require_engine() -> None:
    """Raise `StackError` unless a Docker engine answers."""
    try:
        with contextlib.closing(docker.from_env()) as client:
            client.ping()
    except DockerException as error:
        msg = f"TALLY_STACK=containers needs a Docker engine, and none answers where DOCKER_HOST says: {error}"
        raise StackError(msg) from error


def container_of(specification: Specification) -> DockerContainer:
    """Return the container, not yet started."""
    container = DockerContainer(specification.image).with_command(list(specification.command))
    for inside, outside in specification.ports.items():
        # docker-py takes an address too, which the library's type does not say.
        container.ports[f"{inside}/tcp"] = (LOOPBACK, outside)  # type: ignore[assignment]
    for path, content in specification.files.items():
        container.with_copy_into_container(content, str(path), specification.mode)
    for folder in specification.in_memory:
        container.with_tmpfs_mount(str(folder))
    return container.with_envs(**specification.environment)


def _described(layout: Layout, reserved: state.State) -> Servers:
    """Describe the servers as clients see them; psql and pg_isready are still those of the embedded Postgres."""
    home = postgres_home.PostgresHome(layout.postgres, postgres_home.installed(), None)
    password = secret_files.secret(layout, "postgres-superuser")
    nothing = Program("a container", (), layout.log_file("containers"))
    return Servers(
        layout=layout,
        state=reserved,
        postgres=postgres.Postgres(home, reserved.port("postgres"), nothing, password),
        nats=nats.Nats(reserved.port("nats"), reserved.port("nats-monitor"), nothing),
    )


def _wait_until(is_ready: Callable[[], bool], specification: Specification, container: DockerContainer) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not is_ready():
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status == "exited" or time.monotonic() > deadline:
            said = wrapped.logs()[-_SHOWN_BYTES:].decode(errors="replace").strip().replace("\n", " / ")
            msg = (
                f"{specification.image} is {wrapped.status} and {specification.name} not ready; its last words: {said}"
            )
            raise ServerFailedError(msg)
        time.sleep(_POLL_S)
