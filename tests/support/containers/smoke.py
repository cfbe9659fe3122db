"""`make images-smoke`: the five images do the main job, against Postgres and NATS in containers.

Each runs as the chart runs it: as the image's own user, without capabilities, on a read-only root. They share the
machine's network, since the certificates of a local stack name the loopback address.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sweep.house import House, eventually, open_house
from tallystick_cli.stack import boot, database_setup, readiness
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.errors import ServerFailedError, StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import FOLDERS, ROLES, Servers, urls
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from containers.running import container_servers, require_engine

_DOCKER = os.environ.get("DOCKER", "docker")
_PREFIX = os.environ.get("IMAGE_PREFIX", "tallystick")
_TAG = os.environ.get("IMAGE_TAG", "0.1.0")
_IMAGE_USER = 65532
_READY_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30
_POLL_S = 0.2
_SHOWN_LINES = 5
_AS_THE_CHART = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108 -- the container's own


def image_of(service: ServiceName) -> str:
    """Return the image of a service: `IMAGE_PREFIX/<folder>:IMAGE_TAG`."""
    return f"{_PREFIX}/{SERVICE_FOLDERS[service]}:{_TAG}"


@dataclass(frozen=True, slots=True)
class Images:
    """Containers of our images beside running servers; `folder` has copies of credentials that their user may read."""

    servers: Servers
    folder: Path
    started: dict[str, str] = field(default_factory=dict)

    def run(self, service: ServiceName, *command: str, environment: Mapping[str, str]) -> None:
        """Run a command in a service's image to its end; raise `ServerFailedError` when it fails."""
        done = _docker("run", "--rm", *self._options(environment), image_of(service), *command)
        if done.returncode != 0:
            msg = f"{image_of(service)} {' '.join(command)} ended with {done.returncode}: {_end_of(done)}"
            raise ServerFailedError(msg)

    def start(self, service: ServiceName, role: str) -> None:
        """Start a service's API or worker."""
        own = self.servers.worker_environment if role == "worker" else self.servers.service_environment
        environment = {**own(service), **self.servers.layout.overrides()}
        command = ("python", "-m", SERVICE_PACKAGES[service], role)
        name = f"{SERVICE_FOLDERS[service]}-{role}"
        done = _docker("run", "--detach", *self._options(environment), image_of(service), *command)
        if done.returncode != 0:
            msg = f"{image_of(service)} cannot be started: {_end_of(done)}"
            raise ServerFailedError(msg)
        self.started[name] = done.stdout.strip()

    def make_tenant(self, _layout: Layout, slug: str) -> int:
        """Let identity's image make a tenant, where its worker runs; return the exit status."""
        command = ("python", "-m", SERVICE_PACKAGES[ServiceName.IDENTITY], "add-tenant", f"--tenant={slug}")
        options = (f"--name={slug.title()}", f"--admin-email=admin@{slug}.example")
        done = _docker("exec", self.started["identity-worker"], *command, *options)
        if done.returncode != 0:
            sys.stderr.write(f"images-smoke: {_end_of(done)}\n")
        return done.returncode

    def wait_until_ready(self) -> None:
        """Wait for every API; `ServerFailedError` says who ended, or was late, and its last words."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        waiting = set(FOLDERS)
        while waiting:
            for name, container in self.started.items():
                running = _docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
                if running != "true" or time.monotonic() > deadline:
                    said = _docker("logs", "--tail", str(_SHOWN_LINES), container)
                    msg = f"{name} ended or was not ready in time: {said.stdout}{said.stderr}"
                    raise ServerFailedError(msg)
            ports = self.servers.state
            waiting = {each for each in waiting if not readiness.is_ready(self.servers.layout, ports.port(each))}
            time.sleep(_POLL_S)

    def stop(self) -> dict[str, int]:
        """Ask every process to end, and return each one's exit status: 0 when it had time to finish."""
        if self.started:
            _docker("stop", "--time", str(_STOP_TIMEOUT_S), *self.started.values())
        return {
            name: int(_docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout)
            for name, container in self.started.items()
        }

    def remove(self) -> None:
        """Remove the containers, whether they run or not."""
        if self.started:
            _docker("rm", "--force", *self.started.values())

    def _options(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        root = self.servers.layout.root
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".env", delete=False) as file:
            file.writelines(f"{name}={value}\n" for name, value in environment.items())
        mounts = ("--volume", f"{self.folder / 'copy'}:{root}:ro")
        marks = ("--volume", f"{self.folder / 'high-water'}:{self.servers.layout.high_water}")
        user = () if os.geteuid() == 0 else ("--user", f"{os.getuid()}:{os.getgid()}")
        return (*_AS_THE_CHART, "--network", "host", "--env-file", file.name, *mounts, *marks, *user)


@contextmanager
def running_images(servers: Servers) -> Iterator[Images]:
    """Migrate by the images and start all of them; they are removed at the end, whatever happens."""
    database_setup.create(servers)
    environments = {each: servers.service_environment(each) for each in ServiceName}  # which also makes what it names
    with tempfile.TemporaryDirectory() as name:
        images = Images(servers, Path(name))
        _copy_credentials(servers.layout, Path(name))
        for each in ServiceName:
            command = ("python", "-m", SERVICE_PACKAGES[each], "migrate")
            images.run(each, *command, environment=servers.migration_environment(each))
        mail = Child.start(boot.mail_program(servers))
        try:
            for each in ServiceName:
                for role in ROLES:
                    images.start(each, role)
            images.wait_until_ready()
            _check(images, environments[ServiceName.IDENTITY])
            yield images
        finally:
            images.remove()
            mail.ask_to_stop()
            mail.wait_until_stopped(_STOP_TIMEOUT_S)


def _copy_credentials(layout: Layout, folder: Path) -> None:
    for part in (layout.secrets, layout.authority, layout.high_water):
        inside = folder / "copy" / part.relative_to(layout.root)
        shutil.copytree(part, inside)
    shutil.copytree(layout.high_water, folder / "high-water")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _IMAGE_USER, _IMAGE_USER)


def _check(images: Images, environment: Mapping[str, str]) -> None:
    """What `helm test` asks."""
    layout = images.servers.layout
    named = (f"--url={folder}={url}" for folder, url in urls(images.servers.state).items())
    keys = f"--session-keys={environment['TALLY_SESSION_JWKS_FILE']}"
    images.run(
        ServiceName.IDENTITY, "tally", "cluster", "check", f"--ca-file={layout.ca_file}", keys, *named, environment={}
    )


def wrong_with(house: House) -> list[str]:
    """Return what anybody finds wrong with what is said of certificates, a sentence each."""
    asked = {
        "valid": house.verification_url,
        "cannot_be_confirmed": f"{house.urls['verification']}/certs/verify/made-up-by-smoke",
    }
    with httpx.Client(verify=house.tls, timeout=30.0) as client:
        # It hears of a certificate a moment after the owner.
        eventually(lambda: client.get(house.verification_url).json()["status"] == "valid" or None, "verification")
        answers = {expected: client.get(url).json()["status"] for expected, url in asked.items()}
        page = client.get(house.verification_url, headers={"Accept": "text/html"})
    wrong = [f"a certificate is {found}, not {expected}" for expected, found in answers.items() if found != expected]
    return wrong if page.is_success else [*wrong, f"the page of a certificate answers {page.status_code}"]


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((_DOCKER, *arguments), check=False, capture_output=True, text=True)


def _end_of(done: subprocess.CompletedProcess[str]) -> str:
    return " / ".join((done.stdout + done.stderr).strip().splitlines()[-_SHOWN_LINES:])


def main() -> int:
    """Run it, say how it went, and return the exit status."""
    try:
        require_engine()
    except StackError as error:
        sys.stdout.write(f"images-smoke: the main job was not tested: {error}\n")
        return 0
    with ExitStack() as until_the_end, tempfile.TemporaryDirectory() as folder:
        servers = until_the_end.enter_context(container_servers()).servers
        images = until_the_end.enter_context(running_images(servers))
        with open_house(servers.layout, Path(folder), images.make_tenant) as house:
            wrong = wrong_with(house)
        wrong += [f"{name} ended with {status}" for name, status in images.stop().items() if status != 0]
    for each in wrong:
        sys.stderr.write(f"images-smoke: {each}\n")
    sys.stdout.write("" if wrong else "images-smoke: the main job holds in the images\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
