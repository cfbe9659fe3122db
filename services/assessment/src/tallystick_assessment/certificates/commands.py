"""Issuing certificates to those who pass, and revoking one."""

import secrets
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import OrgUnitId, new_id, new_secret
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import CertificateIssued, CertificateRevoked

from tallystick_assessment.canonical import SALT_BYTES
from tallystick_assessment.certificates import store
from tallystick_assessment.certificates.domain import CertificateContent, issued_on, reference_of
from tallystick_assessment.certificates.store import Action, Publication
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.store import read_snapshot, units_with_paper
from tallystick_assessment.scoring.store import ScoreVersion, lock_scores, newest_of_version
from tallystick_assessment.submissions.store import submission_of


class CertificatesIssued(msgspec.Struct, frozen=True):
    """How many certificates one command issued, and which."""

    issued: int
    certificate_ids: tuple[UUID, ...]


class CertificateState(msgspec.Struct, frozen=True):
    """A certificate after a command."""

    certificate_id: UUID
    revoked: bool


async def issue_certificates(tx: Transaction, cipher: Cipher, evaluation_id: UUID, version: int) -> CertificatesIssued:
    """Issue a certificate to everyone in scope whose newest score passes and who has had none for that submission.

    Event: certificate.issued for each. The public entries follow later, from the worker.
    """
    await lock_scores(tx, evaluation_id, version)
    scores = await newest_of_version(tx, evaluation_id, version)
    if not scores and not await units_with_paper(tx, evaluation_id, version):
        raise NotFound
    certified = await store.submissions_certified(tx, evaluation_id, version)
    erased = await store.erased_people(tx)
    issuer = await store.issuer_name(tx)
    issued = [
        await _issue(tx, cipher, newest, issuer)
        for submission_id, newest in sorted(scores.items())
        if newest.score.passed and submission_id not in certified and newest.person not in erased
    ]
    return CertificatesIssued(len(issued), tuple(issued))


async def _issue(tx: Transaction, cipher: Cipher, newest: ScoreVersion, issuer: str) -> UUID:
    submission = await submission_of(tx, newest.submission_id)
    if submission is None:
        raise NotFound
    token, salt = new_secret(), secrets.token_bytes(SALT_BYTES)
    content = CertificateContent(
        certificate_id=new_id(),
        person=newest.person,
        submission_id=newest.submission_id,
        score_version=newest.score_version,
        credential_type=read_snapshot(submission.snapshot).title,
        issuer=issuer,
        issued_at=issued_on(tx.clock()),
    )
    row = store.Certificate(
        id=content.certificate_id,
        org_unit_id=newest.org_unit_id,
        person=newest.person,
        submission_id=newest.submission_id,
        evaluation_id=submission.evaluation_id,
        version=submission.version,
        score_version=newest.score_version,
        credential_type=content.credential_type,
        reference=reference_of(token),
        commitment=content.commitment(salt),
        issued_at=content.issued_at,
        revoked_at=None,
    )
    await store.insert_certificate(tx, cipher, row, store.Link(token, salt))
    await store.plan_publication(tx, _publication(row, Action.PUBLISH, issuer))
    event = CertificateIssued(
        certificate_id=str(row.id),
        person=row.person,
        submission_id=str(row.submission_id),
        score_version=row.score_version,
        credential_type=row.credential_type,
        commitment=row.commitment,
        issued_at=row.issued_at,
    )
    draft = EventDraft(event, subject=row.person, org_unit=OrgUnitId(row.org_unit_id))
    await tx.append(f"certificate-{row.id}", 0, [draft])
    return row.id


async def revoke_certificate(tx: Transaction, sealer: Sealer, certificate_id: UUID, reason: str) -> CertificateState:
    """Revoke a certificate; revoking it again changes nothing.

    Event: certificate.revoked, with the reason sealed to the tenant's key. The public withdrawal follows later.
    """
    certificate = await store.certificate_of(tx, certificate_id, for_update=True)
    if certificate is None:
        raise NotFound
    if certificate.revoked_at is None:
        event_id = new_id()
        event = CertificateRevoked(
            certificate_id=str(certificate_id),
            person=certificate.person,
            reason=await sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason),
        )
        draft = EventDraft(event, event_id, certificate.person, OrgUnitId(certificate.org_unit_id))
        await tx.append(f"certificate-{certificate_id}", 1, [draft])
        await store.mark_revoked(tx, certificate_id, tx.clock())
        issuer = await store.issuer_name(tx)
        await store.plan_publication(tx, _publication(certificate, Action.WITHDRAW, issuer))
    return CertificateState(certificate_id, revoked=True)


def _publication(certificate: store.Certificate, action: Action, issuer: str) -> Publication:
    return Publication(
        reference=certificate.reference,
        action=action,
        commitment=certificate.commitment,
        credential_type=certificate.credential_type,
        issuer=issuer,
        issued_at=certificate.issued_at,
    )
