"""Routes of certificates: issue, list and revoke for staff; for holders their own, with the link to show."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import CacheControlHeader
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.certificates import commands, store
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.errors import perform
from tallystick_assessment.parameters import MAX_VERSION, PageSize


class IssueCertificatesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which version certificates are issued."""

    evaluation_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]


class RevokeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a certificate is revoked."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class CertificateView(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as staff see it: nothing that leads to its public entry."""

    certificate_id: UUID
    unit_id: UUID
    person: str
    submission_id: UUID
    score_version: int
    credential_type: str
    issued_at: str
    revoked_at: datetime | None


class CertificatePage(msgspec.Struct, frozen=True):
    """A page of certificates; ``next`` is the ``after`` of the following page, null on the last."""

    certificates: tuple[CertificateView, ...]
    next: UUID | None


class OwnCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as its holder sees it; whoever has ``verification_url`` can check it."""

    certificate_id: UUID
    credential_type: str
    issued_at: str
    revoked_at: datetime | None
    verification_url: str


class OwnCertificates(msgspec.Struct, frozen=True):
    """A holder's own certificates."""

    certificates: tuple[OwnCertificate, ...]


@post(
    "/api/v1/assessment/certificates/issue",
    opt={"capability": Capability.CERTIFICATE_ISSUE, REFUSES: (NotFound,)},
    status_code=200,
)
async def post_certificates(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, data: IssueCertificatesRequest
) -> Response[commands.CertificatesIssued]:
    """Issue certificates to all in scope who pass and have none."""
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.issue_certificates(tx, cipher, data.evaluation_id, data.version),
    )


@post(
    "/api/v1/assessment/certificates/{certificate_id:uuid}/revoke",
    opt={"capability": Capability.CERTIFICATE_REVOKE},
    status_code=200,
)
async def post_certificate_revoke(
    request: Request[Any, Any, Any], tenant_scope: Scope, runtime: Runtime, certificate_id: UUID, data: RevokeRequest
) -> Response[commands.CertificateState]:
    """Revoke a certificate; again is no second effect."""
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.revoke_certificate(tx, runtime.sealer, certificate_id, data.reason),
    )


@get("/api/v1/assessment/certificates", opt={"capability": Capability.CERTIFICATE_READ})
async def list_certificates(
    tenant_scope: Scope,
    runtime: Runtime,
    *,
    evaluation_id: UUID | None = None,
    after: UUID | None = None,
    limit: PageSize = 100,
) -> CertificatePage:
    """List certificates in scope, by id."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.list_certificates(tx, evaluation_id=evaluation_id, after=after, limit=limit + 1)
    page = found[:limit]
    return CertificatePage(tuple(map(_view, page)), page[-1].id if len(found) > limit else None)


@get(
    "/api/v1/assessment/my/certificates",
    opt={"capability": Capability.CERTIFICATE_OWN},
    cache_control=CacheControlHeader(no_store=True),
)
async def list_own_certificates(tenant_scope: Scope, runtime: Runtime, cipher: Cipher) -> OwnCertificates:
    """Show one's own certificates with the link that verifies them."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.own_certificates(tx, cipher, PersonRef(tenant_scope.actor))
    base = str(runtime.settings.url_of("verification"))
    return OwnCertificates(
        tuple(
            OwnCertificate(
                certificate_id=row.id,
                credential_type=row.credential_type,
                issued_at=row.issued_at,
                revoked_at=row.revoked_at,
                verification_url=f"{base}/certs/verify/{link.token}",
            )
            for row, link in found
        )
    )


def _view(row: store.Certificate) -> CertificateView:
    return CertificateView(
        certificate_id=row.id,
        unit_id=row.org_unit_id,
        person=row.person,
        submission_id=row.submission_id,
        score_version=row.score_version,
        credential_type=row.credential_type,
        issued_at=row.issued_at,
        revoked_at=row.revoked_at,
    )
