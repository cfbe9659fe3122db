"""Identifiers: what names a tenant, a unit, a person, an event; and how new ones and new secrets are made."""

from __future__ import annotations

import secrets
from typing import NewType
from uuid import UUID, uuid4

TenantId = NewType("TenantId", UUID)
OrgUnitId = NewType("OrgUnitId", UUID)
EventId = NewType("EventId", UUID)
PersonRef = NewType("PersonRef", str)
"""A person's pseudonym: ``p_`` and 128 random bits in URL-safe base64 (22 characters)."""

SERVICE_KEY_PREFIX = "tsk_"
"""How the key of a customer's machine begins."""

PLATFORM_TENANT = TenantId(UUID(int=0))
"""The reserved tenant of events that no tenant may see: nobody signs in to it; its logs are the operator's."""

PERSON_REF_BYTES = 16
MIN_SECRET_BYTES = 16


def new_id() -> UUID:
    """Return a random UUID. An identifier, never a secret (ASVS 11.5.1); random, so it tells no time of making."""
    return uuid4()


def new_person_ref() -> PersonRef:
    """Return a fresh pseudonym that says nothing about the person."""
    return PersonRef("p_" + secrets.token_urlsafe(PERSON_REF_BYTES))


def new_secret(size_bytes: int = 32) -> str:
    """Return a URL-safe secret of ``size_bytes`` random bytes (at least 16: 128 bits).

    Raises:
        ValueError: if fewer than 16 bytes are asked for.
    """
    if size_bytes < MIN_SECRET_BYTES:
        msg = f"a secret needs at least {MIN_SECRET_BYTES} bytes, not {size_bytes}"
        raise ValueError(msg)
    return secrets.token_urlsafe(size_bytes)


def root_unit_of(tenant: TenantId) -> OrgUnitId:
    """Return the tenant's root org unit: it has the tenant's own id, so that nobody must look it up."""
    return OrgUnitId(tenant)
