"""The scope of a transaction: for which tenant, which org units, by whom, in which correlation.

Row-level security reads it from the transaction's settings. A scope that is missing or malformed is refused, never
widened.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID, uuid4

from tallystick_chassis.ids import OrgUnitId, TenantId, root_unit_of

_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ACTOR = re.compile(r"[A-Za-z0-9_:.-]{1,80}")


class ScopeError(ValueError):
    """A scope was missing or malformed; nothing was read or written."""


class AllUnits(enum.Enum):
    """Every org unit of one tenant. Only duties (consumers, jobs) may hold it, never a person's request."""

    ALL = "*"


ALL_UNITS: Final = AllUnits.ALL


@dataclass(frozen=True, slots=True)
class Scope:
    """One tenant, the org units in reach, and who acts.

    ``org_units`` are those in which some grant of the actor holds the capability that the route needs.
    ``correlation`` was minted at the edge; ``client_correlation`` is the caller's own, kept beside it.

    Raises:
        ScopeError: if a part is missing or has the wrong form.
    """

    tenant: TenantId
    org_units: frozenset[OrgUnitId] | AllUnits
    actor: str
    correlation: str
    causation: str | None = None
    client_correlation: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is not whole."""
        if not isinstance(self.tenant, UUID):
            msg = "scope without a tenant"  # type: ignore[unreachable] # a caller without types must be refused too
            raise ScopeError(msg)
        if not isinstance(self.org_units, AllUnits) and not (
            isinstance(self.org_units, frozenset) and all(isinstance(unit, UUID) for unit in self.org_units)
        ):
            msg = "scope with malformed org units"
            raise ScopeError(msg)
        if not isinstance(self.actor, str) or not _ACTOR.fullmatch(self.actor):
            msg = "scope without an actor"
            raise ScopeError(msg)
        if not isinstance(self.correlation, str) or not _CORRELATION.fullmatch(self.correlation):
            msg = "scope without a correlation id"
            raise ScopeError(msg)

    @property
    def root_unit(self) -> OrgUnitId:
        """The tenant's root unit, to which tenant-wide rows belong."""
        return root_unit_of(self.tenant)

    @property
    def units_setting(self) -> str:
        """The value of ``app.org_units``: ``*``, or unit ids with commas between; empty: no unit is in reach."""
        if isinstance(self.org_units, AllUnits):
            return self.org_units.value
        return ",".join(sorted(str(unit) for unit in self.org_units))

    @classmethod
    def for_duty(
        cls, tenant: TenantId, service: str, *, correlation: str | None = None, causation: str | None = None
    ) -> Self:
        """Return the scope in which a service acts by itself for one tenant: all its units, no other tenant."""
        return cls(
            tenant=tenant,
            org_units=ALL_UNITS,
            actor=service,
            correlation=correlation or uuid4().hex,
            causation=causation,
        )
