"""Write the auditor's tables: `python -m tallystick_contracts.auditor_table [--check]`.

`tally audit explain` says from the event types what an entry is; `tally audit reconcile` folds a log by the rules. The
auditor's command line needs no contracts package, so the tables go along with it as JSON files.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from tallystick_contracts.message import EventType, PiiClass
from tallystick_contracts.reconciliation import RULES, Always, Data, Part, Rule
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName

_FOLDER = Path(__file__).resolve().parents[4] / "cli/src/tallystick_cli/audit"
TABLE = _FOLDER / "event_types.json"
RULE_TABLE = _FOLDER / "reconcile_rules.json"


def render() -> dict[Path, bytes]:
    """Return the files."""
    tables = {TABLE: [_row(entry) for entry in REGISTRY], RULE_TABLE: [_rule(rule) for rule in RULES]}
    return {path: msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n" for path, rows in tables.items()}


def _rule(rule: Rule) -> dict[str, object]:
    entry = REGISTRY.by_name(rule.event, rule.version)
    source = entry.service
    if source is None:
        message = f"{rule.event}: every service has this event, so no rule can be made from it"
        raise ValueError(message)
    return {
        "type": rule.event,
        "v": rule.version,
        "log": str(REGISTRY.log_of(source, entry.aggregate)),
        "service": str(rule.service),
        "kind": rule.kind,
        "key": [_part(entry, part) for part in rule.key],
        "sets": {name: _part(entry, part) for name, part in rule.sets.items()},
        "creates": rule.creates,
        "elsewhere": rule.elsewhere,
    }


def _part(entry: EventType, part: Part) -> dict[str, object]:
    if isinstance(part, Always):
        return {"value": part.value}
    if not isinstance(part, Data):
        return {"event": part.name}
    if entry.pii[part.name] not in {PiiClass.P0, PiiClass.P1}:
        message = f"{entry.type}: {part.name} is personal data, which no service's state may show"
        raise ValueError(message)
    found: dict[str, object] = {"data": _json_name(part.name)}
    if part.as_time:
        found["as"] = "time"
    if part.absent is not None:
        found["absent"] = part.absent
    return found


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
    """Write the files."""
    for path, content in render().items():
        path.write_bytes(content)


def main() -> int:
    """Write the files, or with `--check` compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the auditor's tables.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check: bool = parser.parse_args().check
    if not check:
        write()
    elif any(not path.exists() or path.read_bytes() != content for path, content in render().items()):
        sys.stderr.write("contracts: the auditor's tables are out of date; run `make proto`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
