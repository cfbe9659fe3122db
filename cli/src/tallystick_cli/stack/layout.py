"""Where everything of one embedded stack lies: one folder, `.tally` unless told otherwise."""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = ".tally"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one stack folder; `root` is absolute.

    `root` can be passed through by other users, because Postgres cannot run as root and then runs as another user;
    what must stay private below it has mode 0700.
    """

    root: Path

    @classmethod
    def at(cls, folder: Path | str | None = None) -> "Layout":
        """Return the layout at `folder`, else at `$TALLY_DIR`, else at `.tally` in the current folder."""
        return cls(Path(folder or os.environ.get("TALLY_DIR") or DEFAULT_FOLDER).absolute())

    @property
    def secrets(self) -> Path:
        """Passwords, seeds and private keys, one per file."""
        return self.root / "secrets"

    @property
    def checkpoint_keys(self) -> Path:
        """The ledger's checkpoint keys after the first, one per file."""
        return self.secrets / "checkpoint-keys"

    @property
    def authority(self) -> Path:
        """The local certificate authority and the servers' certificates."""
        return self.root / "authority"

    @property
    def ca_file(self) -> Path:
        """The authority's certificate (PEM), which clients trust."""
        return self.authority / "ca.pem"

    @property
    def state_file(self) -> Path:
        """The ports chosen at first start (JSON)."""
        return self.root / "state.json"

    def overrides(self) -> dict[str, str]:
        """Return what `service.env` sets (lines `TALLY_…=value`), for all services; nothing where there is none."""
        file = self.root / "service.env"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    @property
    def postgres(self) -> Path:
        """Postgres' folder, or a `moved-to` file that names it."""
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        """NATS' configuration and JetStream store."""
        return self.root / "nats"

    @property
    def high_water(self) -> Path:
        """How far the ledger has signed each log: apart from Postgres' folder, so that restoring that shows."""
        return self.root / "high-water"

    @property
    def mail(self) -> Path:
        """A Maildir of everything the services sent."""
        return self.root / "mail"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """What describes the running supervisor: its lock and its status."""
        return self.root / "run"

    @property
    def made(self) -> tuple[Path, ...]:
        """Everything a stack makes in its folder; what else lies there is not the stack's."""
        servers = (self.postgres, self.nats, self.mail, self.high_water)
        return (self.secrets, self.authority, *servers, self.logs, self.run, self.state_file)

    def log_file(self, program: str) -> Path:
        """Return the log file of one program."""
        return self.logs / f"{program}.log"

    def create(self) -> None:
        """Make the folders, private ones with mode 0700; the mail sink makes its Maildir itself."""
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.root.chmod(0o711)
        self.postgres.mkdir(mode=0o711, exist_ok=True)
        self.postgres.chmod(0o711)
        private = (self.secrets, self.checkpoint_keys, self.authority, self.nats, self.high_water, self.logs, self.run)
        for folder in private:
            folder.mkdir(mode=0o700, exist_ok=True)
