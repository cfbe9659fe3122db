"""What of identity's state an auditor can compare with the ledger; names and addresses of people are not in it."""

from __future__ import annotations

from typing import Final

from tallystick_chassis.state import StateKind, day_keys, people_directory

KINDS: Final = (
    StateKind(
        name="tenant",
        source="identity.tenants t",
        key=(("t.tenant_id", "uuid"),),
        stream="'tenant-' || t.tenant_id",
        fields={"slug": "t.slug", "name": "t.name"},
    ),
    StateKind(
        name="org_unit",
        source="identity.org_units t",
        key=(("t.org_unit_id", "uuid"),),
        stream="'org_unit-' || t.org_unit_id",
        fields={"parent": "t.parent_id", "name": "t.name", "path": "t.path"},
    ),
    StateKind(
        name="person",
        source="identity.people t",
        key=(("t.person", "text"),),
        stream="'user-' || t.person",
        fields={
            "home_unit": "t.org_unit_id",
            "key_id": "t.key_id",
            "token_version": "t.token_version",
            "deleted": "t.deleted_at is not null",
            "erased": "t.erased_at is not null",
            "has_personal_data": "num_nonnulls(t.email_index, t.email_ciphertext, t.name_ciphertext) > 0",
        },
    ),
    StateKind(
        name="role",
        source="identity.roles t",
        key=(("t.id", "uuid"),),
        stream="'role-' || t.id",
        fields={"name": "t.name", "capabilities": "t.capabilities", "staff": "t.staff", "version": "t.version"},
    ),
    StateKind(
        name="grant",
        source="identity.grants t",
        key=(("t.id", "uuid"),),
        stream="'grant-' || t.id",
        fields={
            "person": "t.person",
            "role": "t.role_id",
            "unit": "t.org_unit_id",
            "subtree": "t.subtree",
            "starts_at": "t.starts_at",
            "expires_at": "t.expires_at",
            "revoked": "t.revoked_at is not null",
        },
    ),
    people_directory("identity"),
    day_keys("identity"),
)
