"""How often what may be done: every budget of every service, and the routes that spend them (EV-21c).

A setting may change a budget's limit by its name (``TALLY_RATE_LIMITS``), never its window or what it counts by.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_MINUTE_S = 60
_QUARTER_S = 15 * _MINUTE_S
_HOUR_S = 60 * _MINUTE_S
_DAY_S = 24 * _HOUR_S


class Per(enum.Enum):
    """Whose requests are counted together. ``ADDRESS`` is the client's IP address, of IPv6 the first 64 bits."""

    ADDRESS = "address"
    PERSON = "person"
    TENANT = "tenant"
    EVERYBODY = "everybody"
    OWN = "own"  # the service's code says what the subject is


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``limit`` in the ``window_s`` seconds that begin with the first."""

    name: str
    limit: int
    window_s: int
    per: Per


LOGIN_ADDRESS = Budget("login.address", 600, _QUARTER_S, Per.ADDRESS)
LOGIN_TENANT = Budget("login.tenant", 6_000, _QUARTER_S, Per.OWN)
LINK_RECIPIENT = Budget("link.recipient", 3, _HOUR_S, Per.OWN)
RESET_RECIPIENT = Budget("reset.recipient", 3, _HOUR_S, Per.OWN)
FAILURES_PAIR = Budget("failures.pair", 5, _QUARTER_S, Per.OWN)
FAILURES_ADDRESS = Budget("failures.address", 50, _QUARTER_S, Per.OWN)
FAILURES_ACCOUNT = Budget("failures.account", 100, _DAY_S, Per.OWN)
CODE_ACCOUNT = Budget("code.account", 20, _DAY_S, Per.OWN)
FAILURES_EVERYBODY = Budget("failures.everybody", 2_000, _QUARTER_S, Per.OWN)
FACTOR_PAIR = Budget("factor.pair", 5, _QUARTER_S, Per.OWN)
FACTOR_PERSON = Budget("factor.person", 50, _DAY_S, Per.OWN)

_FACTOR_CHANGES = Budget("factor_changes.person", 60, _HOUR_S, Per.PERSON)
_REFRESH = Budget("refresh.address", 3_000, _QUARTER_S, Per.ADDRESS)
_CLIENTS = Budget("client_tokens.address", 600, _QUARTER_S, Per.ADDRESS)
_ERASURE = (
    Budget("erasure.person", 30, _HOUR_S, Per.PERSON),
    Budget("erasure.tenant", 200, _HOUR_S, Per.TENANT),
)
_IMPORT = Budget("import.tenant", 60, _HOUR_S, Per.TENANT)
_REMEDIATION = (
    Budget("remediation.person", 60, _HOUR_S, Per.PERSON),
    Budget("remediation.tenant", 300, _HOUR_S, Per.TENANT),
)
_EXPORT = (
    Budget("export.person", 60, _HOUR_S, Per.PERSON),
    Budget("export.tenant", 300, _HOUR_S, Per.TENANT),
)
_CHECK = (
    Budget("check.address", 300, _MINUTE_S, Per.ADDRESS),
    Budget("check.everybody", 60_000, _MINUTE_S, Per.EVERYBODY),
)
_OPEN_LOGS = Budget("open_logs.address", 3_000, _MINUTE_S, Per.ADDRESS)

_A, _L = "/api/v1/assessment", "/api/v1/ledger"
ROUTE_BUDGETS: Mapping[str, tuple[Budget, ...]] = MappingProxyType(
    {
        "identity POST /api/v1/auth/login": (LOGIN_ADDRESS,),
        "identity POST /api/v1/auth/verify": (LOGIN_ADDRESS,),
        "identity POST /api/v1/auth/second-factor": (_FACTOR_CHANGES,),
        "identity POST /api/v1/auth/factors": (_FACTOR_CHANGES,),
        "identity POST /api/v1/auth/factors/{factor_id}/confirm": (_FACTOR_CHANGES,),
        "identity DELETE /api/v1/auth/factors/{factor_id}": (_FACTOR_CHANGES,),
        "identity PUT /api/v1/auth/password": (_FACTOR_CHANGES,),
        "identity POST /session/refresh": (_REFRESH,),
        "identity POST /oauth/token": (_CLIENTS,),
        "identity DELETE /api/v1/identity/people/{person_id}": _ERASURE,
        "identity POST /api/v1/identity/imports": (_IMPORT,),
        f"assessment POST {_A}/remediations": _REMEDIATION,
        f"assessment POST {_A}/remediations/{{remediation_id}}/apply": _REMEDIATION,
        f"assessment POST {_A}/remediations/{{remediation_id}}/revert": _REMEDIATION,
        f"ledger POST {_L}/exports": _EXPORT,
        f"ledger GET {_L}/logs/{{log_id}}/export": _EXPORT,
        f"ledger GET {_L}/logs/{{log_id}}/export/{{size}}/{{name}}": _EXPORT,
        "ledger GET /open/logs/{log_id}/checkpoint": (_OPEN_LOGS,),
        "ledger GET /open/logs/{log_id}/vkey": (_OPEN_LOGS,),
        "ledger GET /open/logs/{log_id}/tile/{name}": (_OPEN_LOGS,),
        "verification GET /certs/verify/{token}": _CHECK,
        "verification GET /certs/verify/{token}/proof": _CHECK,
        "verification GET /certs/verify/{token}/entry": _CHECK,
    }
)
"""The high-value routes, ``<service> METHOD /path``, and what each request on them spends."""

OPEN_WHEN_DOWN = frozenset({"check.address", "check.everybody", "open_logs.address"})
"""Budgets of what anybody may see: when they cannot be counted the route answers. Every other one fails closed."""

BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        budget.name: budget
        for budget in (
            LOGIN_TENANT,
            LINK_RECIPIENT,
            RESET_RECIPIENT,
            FAILURES_PAIR,
            FAILURES_ADDRESS,
            FAILURES_ACCOUNT,
            CODE_ACCOUNT,
            FAILURES_EVERYBODY,
            FACTOR_PAIR,
            FACTOR_PERSON,
            _FACTOR_CHANGES,
            *(budget for budgets in ROUTE_BUDGETS.values() for budget in budgets),
        )
    }
)
"""Every budget by its name."""


class BudgetLimits(dict[str, int]):
    """Other limits for budgets, by name; given as a JSON object such as ``{"login.address": 5000}``."""

    def __init__(self, text: str) -> None:
        try:
            given = msgspec.json.decode(text, type=dict[str, int])
        except msgspec.DecodeError:
            message = "not a JSON object of budget to limit"
            raise ValueError(message) from None
        unknown = sorted(set(given) - set(BUDGETS))
        if unknown or any(limit < 1 for limit in given.values()):
            message = "a limit below 1, or a budget that does not exist: there are " + ", ".join(sorted(BUDGETS))
            raise ValueError(message)
        super().__init__(given)
