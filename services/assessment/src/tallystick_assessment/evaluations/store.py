"""Evaluation versions and the papers released from them, at rest."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from tallystick_chassis.ids import TenantId
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.domain import Publication, Snapshot
from tallystick_assessment.questions.paper import PaperItem
from tallystick_assessment.tables import evaluation_versions, evaluations, papers, releases


class Listed(NamedTuple):
    """One evaluation in a list: its newest version."""

    evaluation_id: UUID
    slug: str
    version: int
    published_at: datetime


def read_snapshot(data: bytes) -> Snapshot:
    """Return the snapshot of its canonical bytes."""
    return msgspec.json.decode(data, type=Snapshot)


async def id_of(tx: Transaction, slug: str) -> UUID | None:
    """Return the evaluation that has this short name."""
    found = await tx.execute(
        select(evaluations.c.id).where(evaluations.c.tenant_id == tx.scope.tenant, evaluations.c.slug == slug)
    )
    return found.scalar()


async def snapshot_of(tx: Transaction, evaluation_id: UUID, version: int | None = None) -> Snapshot | None:
    """Return a version's snapshot, the newest's when none is named; None when there is none in scope."""
    columns = evaluation_versions.c
    query = (
        select(columns.snapshot)
        .where(columns.tenant_id == tx.scope.tenant, columns.evaluation_id == evaluation_id)
        .order_by(columns.version.desc())
        .limit(1)
    )
    data = (await tx.execute(query if version is None else query.where(columns.version == version))).scalar()
    return None if data is None else read_snapshot(data)


async def list_evaluations(tx: Transaction) -> list[Listed]:
    """Return every evaluation in scope with its newest version, by short name."""
    versions = evaluation_versions.c
    rows = await tx.execute(
        select(evaluations.c.id, evaluations.c.slug, func.max(versions.version), func.max(versions.published_at))
        .join(
            evaluation_versions,
            (versions.tenant_id == evaluations.c.tenant_id) & (versions.evaluation_id == evaluations.c.id),
        )
        .where(evaluations.c.tenant_id == tx.scope.tenant)
        .group_by(evaluations.c.id, evaluations.c.slug)
        .order_by(evaluations.c.slug)
    )
    return [Listed._make(row) for row in rows]


async def insert_evaluation(tx: Transaction, evaluation_id: UUID, slug: str) -> bool:
    """Store a new evaluation; False when another transaction has just taken the short name."""
    made = await tx.execute(
        insert_or_skip(evaluations)
        .values(tenant_id=tx.scope.tenant, id=evaluation_id, org_unit_id=tx.scope.root_unit, slug=slug)
        .on_conflict_do_nothing()
        .returning(evaluations.c.id)
    )
    return made.first() is not None


async def insert_version(tx: Transaction, publication: Publication, now: datetime) -> None:
    """Store a new version; its snapshot is stored as the bytes that were hashed."""
    snapshot = publication.snapshot
    await tx.execute(
        insert(evaluation_versions).values(
            tenant_id=tx.scope.tenant,
            evaluation_id=snapshot.evaluation_id,
            version=snapshot.version,
            org_unit_id=tx.scope.root_unit,
            content_hash=publication.content_hash,
            snapshot=canonical_json(snapshot),
            published_at=now,
        )
    )


async def released_units(tx: Transaction, evaluation_id: UUID, version: int) -> frozenset[UUID]:
    """Return the units a version was released to; empty unless the scope holds the root unit."""
    columns = releases.c
    rows = await tx.execute(
        select(columns.unit_id).where(
            columns.tenant_id == tx.scope.tenant,
            columns.evaluation_id == evaluation_id,
            columns.version == version,
        )
    )
    return frozenset(rows.scalars())


async def units_with_paper(tx: Transaction, evaluation_id: UUID, version: int) -> frozenset[UUID]:
    """Return the units in scope that hold a version's paper."""
    rows = await tx.execute(
        select(papers.c.org_unit_id).where(
            papers.c.tenant_id == tx.scope.tenant,
            papers.c.evaluation_id == evaluation_id,
            papers.c.version == version,
        )
    )
    return frozenset(rows.scalars())


def _place(tenant: TenantId, unit: UUID, evaluation_id: UUID, version: int) -> str:
    return f"paper/{tenant}/{unit}/{evaluation_id}/{version}"


async def insert_paper(
    tx: Transaction, cipher: Cipher, *, unit: UUID, snapshot: Snapshot, items: Sequence[PaperItem], now: datetime
) -> bool:
    """Store a version's paper in a unit; False when it is there already."""
    key = {
        "tenant_id": tx.scope.tenant,
        "evaluation_id": snapshot.evaluation_id,
        "version": snapshot.version,
    }
    made = await tx.execute(
        insert_or_skip(releases)
        .values(**key, unit_id=unit, org_unit_id=tx.scope.root_unit)
        .on_conflict_do_nothing()
        .returning(releases.c.unit_id)
    )
    if made.first() is None:
        return False
    place = _place(tx.scope.tenant, unit, snapshot.evaluation_id, snapshot.version)
    key_of_content = await cipher.content(tx.scope.tenant)
    content = key_of_content.encrypt(canonical_json(items), place=place)
    await tx.execute(
        insert(papers).values(
            **key, org_unit_id=unit, snapshot=canonical_json(snapshot), content=content, released_at=now
        )
    )
    return True


class Paper(NamedTuple):
    """A paper as a candidate's unit holds it."""

    snapshot: Snapshot
    items: tuple[PaperItem, ...]


async def load_paper(tx: Transaction, cipher: Cipher, unit: UUID, evaluation_id: UUID, version: int) -> Paper | None:
    """Return a unit's paper of a version; None when there is none in scope."""
    columns = papers.c
    row = (
        await tx.execute(
            select(columns.snapshot, columns.content).where(
                columns.tenant_id == tx.scope.tenant,
                columns.org_unit_id == unit,
                columns.evaluation_id == evaluation_id,
                columns.version == version,
            )
        )
    ).first()
    if row is None:
        return None
    place = _place(tx.scope.tenant, unit, evaluation_id, version)
    plain = (await cipher.content(tx.scope.tenant)).decrypt(row.content, place=place)
    return Paper(read_snapshot(row.snapshot), msgspec.json.decode(plain, type=tuple[PaperItem, ...]))
