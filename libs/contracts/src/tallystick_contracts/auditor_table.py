"""Write the auditor's table of event types: `python -m tallystick_contracts.auditor_table [--check]`.

`tally audit explain` says from it what an entry is. The auditor's command line needs no contracts package, so the table
goes along with it as a JSON file.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from tallystick_contracts.message import EventType, PiiClass
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName

TABLE = Path(__file__).resolve().parents[4] / "cli/src/tallystick_cli/audit/event_types.json"


def render() -> bytes:
    """Return the file."""
    return msgspec.json.format(msgspec.json.encode([_row(entry) for entry in REGISTRY]), indent=2) + b"\n"


def _row(entry: EventType) -> dict[str, object]:
    return {
        "type": entry.type,
        "v": entry.version,
        "summary": entry.summary,
        "log": str(REGISTRY.log_of(entry.service or ServiceName.IDENTITY, entry.aggregate)),
        "must_record": entry.must_record,
        "public": entry.public,
        "sealed": _fields(entry, PiiClass.P2),
        "pseudonyms": _fields(entry, PiiClass.P1),
        # ProtoJSON leaves out what is at its default: who folds events must know what an absent field means.
        "defaults": {field.encode_name: field.default for field in msgspec.structs.fields(entry.struct)},
    }


def _fields(entry: EventType, pii: PiiClass) -> list[str]:
    """Give the paths of a class as they are written in JSON: `key_id` is `keyId` there."""
    return [".".join(map(_json_name, path.split("."))) for path, given in entry.pii.items() if given is pii]


def _json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def write() -> None:
    """Write the file."""
    TABLE.write_bytes(render())


def main() -> int:
    """Write the file, or with `--check` compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the auditor's table of event types.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check: bool = parser.parse_args().check
    if not check:
        write()
    elif not TABLE.exists() or TABLE.read_bytes() != render():
        sys.stderr.write("contracts: the auditor's table of event types is out of date; run `make proto`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
