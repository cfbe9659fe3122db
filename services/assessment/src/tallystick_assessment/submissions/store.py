"""Submissions at rest: written once, never changed."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, select
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.transaction import Transaction
from tallystick_contracts.generated.assessment import SubmissionFinalised

from tallystick_assessment.attempts.store import AttemptRow
from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.tables import submissions


class Submission(NamedTuple):
    """One submission; ``snapshot`` is the canonical bytes whose SHA-256 is ``snapshot_hash``."""

    id: UUID
    org_unit_id: UUID
    attempt_id: UUID
    person: PersonRef
    evaluation_id: UUID
    version: int
    snapshot: bytes
    snapshot_hash: str
    response_root: str
    finalised_at: datetime


_COLUMNS = tuple(submissions.c[name] for name in Submission._fields)


async def insert_submission(
    tx: Transaction, attempt: AttemptRow, event: SubmissionFinalised, snapshot: Snapshot, now: datetime
) -> None:
    """Store a submission as its event says."""
    row = Submission(
        id=UUID(event.submission_id),
        org_unit_id=attempt.org_unit_id,
        attempt_id=attempt.id,
        person=attempt.person,
        evaluation_id=attempt.evaluation_id,
        version=attempt.version,
        snapshot=canonical_json(snapshot),
        snapshot_hash=event.snapshot_hash,
        response_root=event.response_root,
        finalised_at=now,
    )
    await tx.execute(insert(submissions).values(tenant_id=tx.scope.tenant, **row._asdict()))


async def submission_of(tx: Transaction, submission_id: UUID) -> Submission | None:
    """Return a submission in scope."""
    query = select(*_COLUMNS).where(submissions.c.tenant_id == tx.scope.tenant, submissions.c.id == submission_id)
    row = (await tx.execute(query)).first()
    return Submission._make(row) if row else None


async def list_submissions(
    tx: Transaction,
    *,
    evaluation_id: UUID | None = None,
    version: int | None = None,
    after: UUID | None = None,
    limit: int = 500,
) -> list[Submission]:
    """Return submissions in scope in order of id."""
    query = select(*_COLUMNS).where(submissions.c.tenant_id == tx.scope.tenant)
    if evaluation_id is not None:
        query = query.where(submissions.c.evaluation_id == evaluation_id)
    if version is not None:
        query = query.where(submissions.c.version == version)
    if after is not None:
        query = query.where(submissions.c.id > after)
    rows = await tx.execute(query.order_by(submissions.c.id).limit(limit))
    return [Submission._make(row) for row in rows]
