"""Write the dashboards and the alerts, into `deploy/` and beside the chart that ships them.

`cd tests/support && ../../.venv/bin/python -m sight [--check]`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from sight.alerts import document
from sight.dashboards import DASHBOARDS, render

ROOT: Final = Path(__file__).resolve().parents[3]
_HEAD: Final = "# Written by `cd tests/support && python -m sight` from sight/alerts.py; do not edit.\n"


def files() -> dict[Path, str]:
    """Return every generated file's content. The chart can only ship what lies inside it, hence each one twice."""
    rules = _HEAD + yaml.safe_dump(document(), sort_keys=False, width=1000, allow_unicode=True)
    made = {ROOT / "deploy/prometheus/alerts.yaml": rules}
    made |= {ROOT / f"deploy/grafana/dashboards/{name}.json": render(name) for name in DASHBOARDS}
    chart = ROOT / "deploy/helm/tallystick/files"
    return made | {chart / file.relative_to(ROOT / "deploy"): content for file, content in made.items()}


def main() -> int:
    """Write the files, or with ``--check`` compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Write dashboards and alerts.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check = parser.parse_args().check
    stale = []
    for file, content in files().items():
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            stale.append(str(file.relative_to(ROOT)))
            if not check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `cd tests/support && python -m sight`\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
