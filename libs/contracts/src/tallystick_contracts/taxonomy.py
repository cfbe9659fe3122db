"""Write `docs/security/event-taxonomy.md` from the registry: `python -m tallystick_contracts.taxonomy [--check]`."""

import argparse
import sys
from pathlib import Path

from tallystick_contracts.message import EventType, PiiClass
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName

TAXONOMY = Path(__file__).resolve().parents[4] / "docs" / "security" / "event-taxonomy.md"

_HEAD = """# Event taxonomy

Generated from the event registry (`proto/`) by `make proto`; do not edit.

- **Log**: `compliance` is kept; `audit` is dropped whole after its retention. A whole aggregate goes to one log.
- **Must record**: the effect is not committed without the event.
- **Sealed**: personal values (P2), readable only with a key that erasure destroys.
- **Pseudonyms**: random references (P1), in clear.
- **OCSF**: class and activity of the export, and the status where the type decides it.
- A **public** entry has its service as actor, and no org unit, subject, correlation, causation or trace.
- Events of `authz` and `ops` are emitted by every service under its own name.
"""


def render() -> str:
    """Return the document."""
    sections = [_HEAD]
    for source in (*ServiceName, None):
        rows = [_row(entry) for entry in REGISTRY if entry.service == source]
        sections.append(
            f"\n## {source or 'every service'}\n\n"
            "| Type | Version | Log | Must record | Sealed | Pseudonyms | OCSF | What happened |\n"
            "|---|---|---|---|---|---|---|---|\n" + "".join(rows)
        )
    return "".join(sections)


def _row(entry: EventType) -> str:
    log = REGISTRY.log_of(entry.service or ServiceName.IDENTITY, entry.aggregate)
    ocsf = f"{entry.ocsf_class}/{entry.ocsf_activity} {entry.ocsf_status}".rstrip()
    cells = (
        f"`{entry.type}`",
        str(entry.version),
        f"{log}, public" if entry.public else str(log),
        "yes" if entry.must_record else "",
        _fields(entry, PiiClass.P2),
        _fields(entry, PiiClass.P1),
        ocsf,
        entry.summary,
    )
    return f"| {' | '.join(cells)} |\n"


def _fields(entry: EventType, pii: PiiClass) -> str:
    return ", ".join(f"`{path}`" for path, given in entry.pii.items() if given is pii)


def write() -> None:
    """Write the document."""
    TAXONOMY.parent.mkdir(parents=True, exist_ok=True)
    TAXONOMY.write_text(render(), encoding="utf-8")


def main() -> int:
    """Write the document, or with `--check` compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the event taxonomy.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check: bool = parser.parse_args().check
    if not check:
        write()
    elif not TAXONOMY.exists() or TAXONOMY.read_text(encoding="utf-8") != render():
        sys.stderr.write("contracts: docs/security/event-taxonomy.md is out of date; run `make proto`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
