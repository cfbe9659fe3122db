"""Assignments at rest."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, select, update
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.tables import directory_people
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.tables import assignments, attempts, papers


class Assignment(NamedTuple):
    """One assignment; it belongs to the unit that the person was in when it was issued."""

    id: UUID
    org_unit_id: UUID
    person: PersonRef
    evaluation_id: UUID
    version: int
    issued_at: datetime
    revoked_at: datetime | None


class OwnAssignment(NamedTuple):
    """An assignment as its person sees it: with the paper's snapshot and the attempt, once there is one."""

    id: UUID
    snapshot: bytes
    issued_at: datetime
    attempt_id: UUID | None
    expires_at: datetime | None
    submitted_at: datetime | None


_COLUMNS = (
    assignments.c.id,
    assignments.c.org_unit_id,
    assignments.c.person,
    assignments.c.evaluation_id,
    assignments.c.version,
    assignments.c.issued_at,
    assignments.c.revoked_at,
)


async def units_of_people(tx: Transaction, people: Sequence[str]) -> dict[str, UUID]:
    """Return the home units of those people who are in scope and not erased."""
    columns = directory_people.c
    rows = await tx.execute(
        select(columns.person, columns.org_unit_id).where(
            columns.tenant_id == tx.scope.tenant, columns.person.in_(list(people)), columns.erased_at.is_(None)
        )
    )
    return {row.person: row.org_unit_id for row in rows}


async def insert_assignments(tx: Transaction, rows: Sequence[Assignment]) -> None:
    """Store new assignments."""
    await tx.execute(insert(assignments), [{"tenant_id": tx.scope.tenant} | row._asdict() for row in rows])


async def assignment_of(tx: Transaction, assignment_id: UUID, *, person: str | None = None) -> Assignment | None:
    """Return an assignment in scope (and, when a person is named, of that person only)."""
    query = select(*_COLUMNS).where(assignments.c.tenant_id == tx.scope.tenant, assignments.c.id == assignment_id)
    if person is not None:
        query = query.where(assignments.c.person == person)
    row = (await tx.execute(query)).first()
    return Assignment._make(row) if row else None


async def list_assignments(tx: Transaction, *, after: UUID | None, limit: int) -> list[Assignment]:
    """Return assignments in scope in order of id."""
    query = select(*_COLUMNS).where(assignments.c.tenant_id == tx.scope.tenant)
    if after is not None:
        query = query.where(assignments.c.id > after)
    rows = await tx.execute(query.order_by(assignments.c.id).limit(limit))
    return [Assignment._make(row) for row in rows]


async def own_assignments(tx: Transaction, person: str) -> list[OwnAssignment]:
    """Return a person's assignments that were not taken back, oldest first."""
    rows = await tx.execute(
        select(
            assignments.c.id,
            papers.c.snapshot,
            assignments.c.issued_at,
            attempts.c.id,
            attempts.c.expires_at,
            attempts.c.submitted_at,
        )
        .join(
            papers,
            (papers.c.tenant_id == assignments.c.tenant_id)
            & (papers.c.org_unit_id == assignments.c.org_unit_id)
            & (papers.c.evaluation_id == assignments.c.evaluation_id)
            & (papers.c.version == assignments.c.version),
        )
        .outerjoin(
            attempts,
            (attempts.c.tenant_id == assignments.c.tenant_id) & (attempts.c.assignment_id == assignments.c.id),
        )
        .where(
            assignments.c.tenant_id == tx.scope.tenant,
            assignments.c.person == person,
            assignments.c.revoked_at.is_(None),
        )
        .order_by(assignments.c.issued_at, assignments.c.id)
    )
    return [OwnAssignment._make(row) for row in rows]


async def started(tx: Transaction, assignment_id: UUID) -> bool:
    """Say whether an assignment has its attempt."""
    found = await tx.execute(
        select(attempts.c.id).where(attempts.c.tenant_id == tx.scope.tenant, attempts.c.assignment_id == assignment_id)
    )
    return found.first() is not None


async def lock(tx: Transaction, assignment_id: UUID) -> None:
    """Hold the assignment's row until the transaction ends, so that starting and taking back exclude each other."""
    await tx.execute(
        select(assignments.c.id)
        .where(assignments.c.tenant_id == tx.scope.tenant, assignments.c.id == assignment_id)
        .with_for_update()
    )


async def mark_revoked(tx: Transaction, assignment_id: UUID, now: datetime) -> None:
    """Take an assignment back."""
    await tx.execute(
        update(assignments)
        .where(assignments.c.tenant_id == tx.scope.tenant, assignments.c.id == assignment_id)
        .values(revoked_at=now)
    )
