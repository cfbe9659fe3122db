"""Remediations at rest: the proposal, and a ledger of steps that is only ever appended to."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Row, insert, select
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.cipher import Cipher, Key
from tallystick_assessment.remediation.domain import Diff, RemediationId, Status
from tallystick_assessment.tables import remediation_steps, remediations


class Proposal(NamedTuple):
    """A proposed remediation as its dry run left it; ``new_key`` and ``reason`` are clear here, encrypted at rest."""

    id: RemediationId
    evaluation_id: UUID
    version: int
    item_id: str
    base: RemediationId | None
    new_key: object
    reason: str
    diff: Diff
    proposed_at: datetime
    proposed_by: str


class Step(NamedTuple):
    """One application or reversal."""

    remediation_id: UUID
    application: int
    kind: Status
    affected: int
    actor: str
    at: datetime


class InForce(NamedTuple):
    """A remediation that is applied and not taken back."""

    id: RemediationId
    item_id: str
    application: int
    new_key: object


class _Sealed(msgspec.Struct, frozen=True):
    key: object
    salt: bytes


def _place(remediation_id: UUID, field: str) -> str:
    return f"remediation/{remediation_id}/{field}"


async def insert_proposal(tx: Transaction, cipher: Cipher, proposal: Proposal, salt: bytes) -> None:
    """Store a proposal; ``salt`` is that of the new key's hash in the event."""
    key = await cipher.content(tx.scope.tenant)
    await tx.execute(
        insert(remediations).values(
            tenant_id=tx.scope.tenant,
            id=proposal.id,
            org_unit_id=tx.scope.root_unit,
            evaluation_id=proposal.evaluation_id,
            version=proposal.version,
            item_id=proposal.item_id,
            base=proposal.base,
            new_key=key.encrypt(canonical_json(_Sealed(proposal.new_key, salt)), place=_place(proposal.id, "new_key")),
            reason=key.encrypt(proposal.reason.encode(), place=_place(proposal.id, "reason")),
            diff=canonical_json(proposal.diff),
            diff_hash=proposal.diff.diff_hash,
            proposed_at=proposal.proposed_at,
            proposed_by=proposal.proposed_by,
        )
    )


async def proposal_of(tx: Transaction, cipher: Cipher, remediation_id: UUID) -> Proposal | None:
    """Return a proposal in scope."""
    columns = remediations.c
    row = (
        await tx.execute(select(remediations).where(columns.tenant_id == tx.scope.tenant, columns.id == remediation_id))
    ).first()
    if row is None:
        return None
    key = await cipher.content(tx.scope.tenant)
    reason = key.decrypt(row.reason, place=_place(remediation_id, "reason"))
    return Proposal(
        id=RemediationId(row.id),
        evaluation_id=row.evaluation_id,
        version=row.version,
        item_id=row.item_id,
        base=RemediationId(row.base) if row.base else None,
        new_key=_new_key(key, row.id, row.new_key),
        reason=reason.decode(),
        diff=msgspec.json.decode(row.diff, type=Diff),
        proposed_at=row.proposed_at,
        proposed_by=row.proposed_by,
    )


async def insert_step(tx: Transaction, step: Step) -> None:
    """Append an application or a reversal to the ledger of steps."""
    await tx.execute(
        insert(remediation_steps).values(
            tenant_id=tx.scope.tenant,
            org_unit_id=tx.scope.root_unit,
            remediation_id=step.remediation_id,
            application=step.application,
            kind=step.kind.value,
            affected=step.affected,
            actor=step.actor,
            at=step.at,
        )
    )


async def steps_of(tx: Transaction, remediation_id: UUID) -> list[Step]:
    """Return a remediation's steps, oldest first."""
    columns = remediation_steps.c
    rows = await tx.execute(
        select(remediation_steps)
        .where(columns.tenant_id == tx.scope.tenant, columns.remediation_id == remediation_id)
        .order_by(columns.position)
    )
    return [
        Step(row.remediation_id, row.application, Status(row.kind), row.affected, row.actor, row.at) for row in rows
    ]


async def list_ids(tx: Transaction, evaluation_id: UUID, version: int) -> list[UUID]:
    """Return the remediations of an evaluation version in scope, oldest first."""
    columns = remediations.c
    rows = await tx.execute(
        select(columns.id)
        .where(columns.tenant_id == tx.scope.tenant, columns.evaluation_id == evaluation_id, columns.version == version)
        .order_by(columns.proposed_at, columns.id)
    )
    return list(rows.scalars())


async def in_force(tx: Transaction, cipher: Cipher, evaluation_id: UUID, version: int) -> list[InForce]:
    """Return the remediations in force for an evaluation version, in the order of their application."""
    rows = await tx.execute(
        select(
            remediations.c.id,
            remediations.c.item_id,
            remediations.c.new_key,
            remediation_steps.c.application,
            remediation_steps.c.kind,
        )
        .join(
            remediation_steps,
            (remediation_steps.c.tenant_id == remediations.c.tenant_id)
            & (remediation_steps.c.remediation_id == remediations.c.id),
        )
        .where(
            remediations.c.tenant_id == tx.scope.tenant,
            remediations.c.evaluation_id == evaluation_id,
            remediations.c.version == version,
        )
        .order_by(remediation_steps.c.position)
    )
    key = await cipher.content(tx.scope.tenant)
    standing: dict[UUID, Row[Any]] = {}
    for row in rows.all():
        # Taken out first: one that is applied again goes to the end of the order.
        standing.pop(row.id, None)
        if row.kind == Status.APPLIED.value:
            standing[row.id] = row
    return [
        InForce(RemediationId(row.id), row.item_id, row.application, _new_key(key, row.id, row.new_key))
        for row in standing.values()
    ]


def top(standing: Iterable[InForce], item_id: str) -> InForce | None:
    """Return the last applied remediation of an item."""
    return next((one for one in reversed(list(standing)) if one.item_id == item_id), None)


def _new_key(key: Key, remediation_id: UUID, sealed: bytes) -> object:
    plain = key.decrypt(sealed, place=_place(remediation_id, "new_key"))
    return msgspec.json.decode(plain, type=_Sealed).key
