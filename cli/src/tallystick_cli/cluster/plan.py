"""What an installation looks like from outside: names and addresses. The chart writes it, or the command line does."""

from pathlib import Path

import msgspec
from tallystick_contracts.topology import SERVICE_FOLDERS

from tallystick_cli.cluster.errors import ClusterError

POSTGRES, NATS, MAIL = "postgres", "nats", "mail"


class Database(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where Postgres is; `embedded` says that it is the chart's own."""

    host: str
    port: int = 5432
    database: str = "tally"
    keys_database: str = "tally_keys"
    embedded: bool = False


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to make credentials for.

    `prefix` begins every object's name, unless `names` says otherwise for one (an existing Secret's). `certificates`
    says whether to make an authority and server certificates; `extra_authorities` are PEM certificates to trust beside
    it. `labels` go on every object that is made.
    """

    prefix: str
    namespace: str
    postgres: Database
    nats_embedded: bool = False
    mail_embedded: bool = False
    certificates: bool = True
    extra_authorities: str = ""
    names: dict[str, str] = {}
    labels: dict[str, str] = {}

    def name(self, part: str) -> str:
        """Return the name of the object with this part's credentials."""
        return self.names.get(part) or f"{self.prefix}-{part}"

    def host(self, part: str) -> str:
        """Return the name under which pods reach this installation's own service `part`."""
        return f"{self.prefix}-{part}.{self.namespace}.svc"


def read_plan(path: Path, authorities: Path | None = None) -> Plan:
    """Read a plan from a JSON file; the PEM files in `authorities` are trusted beside what it names.

    Raises:
        ClusterError: it cannot be read, or is no plan.
    """
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=Plan)
        # A mounted volume has folders whose names begin with dots; what it offers are the others.
        files = sorted(file for file in authorities.iterdir() if file.is_file()) if authorities else []
        extra = "\n".join([plan.extra_authorities, *(file.read_text(encoding="ascii") for file in files)])
        return msgspec.structs.replace(plan, extra_authorities=extra)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        msg = f"the plan {path} cannot be read: {error}"
        raise ClusterError(msg) from error


FOLDERS = SERVICE_FOLDERS
