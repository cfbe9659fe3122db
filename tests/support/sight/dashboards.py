"""Grafana's dashboards, from code: `cd tests/support && ../../.venv/bin/python -m sight`."""

from __future__ import annotations

import json
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from sight.security_boards import authentication, correlation, isolation, privacy
from sight.service_boards import capacity, ledger, objectives

DASHBOARDS: Final = {
    "correlation": correlation,
    "authentication": authentication,
    "isolation": isolation,
    "ledger": ledger,
    "privacy": privacy,
    "objectives": objectives,
    "capacity": capacity,
}


def render(name: str) -> str:
    """Return a dashboard's JSON."""
    return json.dumps(DASHBOARDS[name]().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
