"""Certificates at rest, and the list of what is still to be said about them in public."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.orm import aliased
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.tables import directory_people, directory_tenants
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.tables import certificates, publications

PUBLICATION_DELAY_MS: Final = (500, 4000)
"""How long a public entry waits at random, so that its time does not lead back to the private one."""


class Certificate(NamedTuple):
    """One certificate; ``reference`` is its public name and ``issued_at`` a day."""

    id: UUID
    org_unit_id: UUID
    person: PersonRef
    submission_id: UUID
    evaluation_id: UUID
    version: int
    score_version: int
    credential_type: str
    reference: str
    commitment: str
    issued_at: str
    revoked_at: datetime | None


class Link(msgspec.Struct, frozen=True):
    """What only the holder may know: the token of their link, and the salt (base64) that opens the commitment."""

    token: str
    salt: bytes


class Action(StrEnum):
    """What is to be said in public."""

    PUBLISH = "publish"
    WITHDRAW = "withdraw"


class Publication(NamedTuple):
    """A public entry to be made; nothing in it leads to a person."""

    reference: str
    action: Action
    commitment: str
    credential_type: str
    issuer: str
    issued_at: str


_COLUMNS = tuple(certificates.c[name] for name in Certificate._fields)
_PUBLICATION = tuple(publications.c[name] for name in Publication._fields)


def _place(certificate_id: UUID) -> str:
    return f"certificate/{certificate_id}"


async def insert_certificate(tx: Transaction, cipher: Cipher, row: Certificate, link: Link) -> None:
    """Store a certificate, its link encrypted under the holder's data key; raises KeyDestroyed after erasure."""
    tenant = tx.scope.tenant
    key = await cipher.person(tenant, row.person)
    content = key.encrypt(canonical_json(link), place=_place(row.id))
    await tx.execute(insert(certificates).values(tenant_id=tenant, content=content, **row._asdict()))


async def certificate_of(tx: Transaction, certificate_id: UUID, *, for_update: bool = False) -> Certificate | None:
    """Return a certificate in scope."""
    query = select(*_COLUMNS).where(certificates.c.tenant_id == tx.scope.tenant, certificates.c.id == certificate_id)
    row = (await tx.execute(query.with_for_update() if for_update else query)).first()
    return Certificate._make(row) if row else None


async def list_certificates(
    tx: Transaction, *, evaluation_id: UUID | None, after: UUID | None, limit: int
) -> list[Certificate]:
    """Return certificates in scope in order of id; never a token."""
    query = select(*_COLUMNS).where(certificates.c.tenant_id == tx.scope.tenant)
    if evaluation_id is not None:
        query = query.where(certificates.c.evaluation_id == evaluation_id)
    if after is not None:
        query = query.where(certificates.c.id > after)
    return [Certificate._make(row) for row in await tx.execute(query.order_by(certificates.c.id).limit(limit))]


async def own_certificates(tx: Transaction, cipher: Cipher, person: PersonRef) -> list[tuple[Certificate, Link]]:
    """Return a person's certificates with their links."""
    found = await tx.execute(
        select(*_COLUMNS, certificates.c.content)
        .where(
            certificates.c.tenant_id == tx.scope.tenant,
            certificates.c.person == person,
            certificates.c.content.is_not(None),
        )
        .order_by(certificates.c.id)
    )
    rows = found.all()
    if not rows:
        return []
    key = await cipher.person(tx.scope.tenant, person)
    own = []
    for row in rows:
        certificate = Certificate._make(row[: len(_COLUMNS)])
        own.append(
            (certificate, msgspec.json.decode(key.decrypt(row.content, place=_place(certificate.id)), type=Link))
        )
    return own


async def submissions_with_certificate(tx: Transaction, evaluation_id: UUID, version: int) -> frozenset[UUID]:
    """Return the submissions of a version that have a certificate which is not revoked."""
    rows = await tx.execute(
        select(certificates.c.submission_id).where(
            certificates.c.tenant_id == tx.scope.tenant,
            certificates.c.evaluation_id == evaluation_id,
            certificates.c.version == version,
            certificates.c.revoked_at.is_(None),
        )
    )
    return frozenset(rows.scalars())


async def submissions_certified(tx: Transaction, evaluation_id: UUID, version: int) -> frozenset[UUID]:
    """Return the submissions of a version that ever had a certificate."""
    rows = await tx.execute(
        select(certificates.c.submission_id).where(
            certificates.c.tenant_id == tx.scope.tenant,
            certificates.c.evaluation_id == evaluation_id,
            certificates.c.version == version,
        )
    )
    return frozenset(rows.scalars())


async def erased_people(tx: Transaction) -> frozenset[str]:
    """Return the pseudonyms in scope whose erasure was ordered."""
    rows = await tx.execute(
        select(directory_people.c.person).where(
            directory_people.c.tenant_id == tx.scope.tenant, directory_people.c.erased_at.is_not(None)
        )
    )
    return frozenset(rows.scalars())


async def mark_revoked(tx: Transaction, certificate_id: UUID, now: datetime) -> None:
    """Revoke a certificate."""
    await tx.execute(
        update(certificates)
        .where(certificates.c.tenant_id == tx.scope.tenant, certificates.c.id == certificate_id)
        .values(revoked_at=now)
    )


async def issuer_name(tx: Transaction) -> str:
    """Return the organisation's name as the public entry shows it."""
    found = await tx.execute(select(directory_tenants.c.name).where(directory_tenants.c.tenant_id == tx.scope.tenant))
    return str(found.scalar_one())


async def plan_publication(tx: Transaction, publication: Publication) -> None:
    """Put a public entry on the list; it is made later, in a transaction of its own."""
    earliest, latest = PUBLICATION_DELAY_MS
    delay = timedelta(milliseconds=earliest + secrets.randbelow(latest - earliest))
    await tx.execute(
        insert(publications).values(tenant_id=tx.scope.tenant, not_before=tx.clock() + delay, **publication._asdict())
    )


async def take_publication(tx: Transaction) -> Publication | None:
    """Take one public entry off the list whose time has come; a withdrawal waits for its publication."""
    earlier = aliased(publications)
    due = (
        select(publications.c.reference, publications.c.action)
        .where(
            publications.c.tenant_id == tx.scope.tenant,
            publications.c.not_before <= tx.clock(),
            (publications.c.action == Action.PUBLISH.value)
            | ~exists().where(
                earlier.c.tenant_id == publications.c.tenant_id,
                earlier.c.reference == publications.c.reference,
                earlier.c.action == Action.PUBLISH.value,
            ),
        )
        # By reference, which is a hash: in no order that the issuing had.
        .order_by(publications.c.reference)
        .limit(1)
    )
    chosen = (await tx.execute(due)).first()
    if chosen is None:
        return None
    taken = await tx.execute(
        delete(publications)
        .where(
            publications.c.tenant_id == tx.scope.tenant,
            publications.c.reference == chosen.reference,
            publications.c.action == chosen.action,
        )
        .returning(*_PUBLICATION)
    )
    row = taken.first()
    return Publication._make(row) if row else None
