"""The operator's commands in an incident: end every session of a person, of a tenant, or of all; write down a new key.

Each tenant is one transaction: a counter, an event, an epoch, however many sessions there are. Ending all of them is
one transaction a tenant, so a command that was killed is given again; what it ended before stays ended.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import (
    SessionEnd,
    SigningKeyRotated,
    TokenVersionBumped,
    TokenVersionScope,
)

from tallystick_identity.containment.store import bump_tenant
from tallystick_identity.parts import make_parts
from tallystick_identity.people.domain import InvalidEmailError, email_address
from tallystick_identity.people.store import find_by_email, find_by_ref
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.tenants.store import all_slugs, tenant_by_slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime


class ContainmentError(Exception):
    """The command cannot do what it was asked; the message says why."""


async def contain_person(runtime: Runtime, slug: str, who: str) -> None:
    """End every session of a person, named by pseudonym or address.

    Raises:
        ContainmentError: if there is no such tenant or person.
    """
    people = make_parts(runtime).people
    async with runtime.database.transaction(Scope.for_duty(await _tenant(runtime, slug), SERVICE_NAME)) as tx:
        if "@" in who:
            try:
                person = await find_by_email(tx, people.email_index(tx, email_address(who)))
            except InvalidEmailError:
                person = None
        else:
            person = await find_by_ref(tx, who)
        if person is None:
            msg = "there is no such person in this tenant"
            raise ContainmentError(msg)
        await people.end_sessions(tx, person, reason=SessionEnd.ADMIN)


async def contain_tenant(runtime: Runtime, slug: str) -> None:
    """End every session in a tenant.

    Raises:
        ContainmentError: if there is no such tenant.
    """
    async with runtime.database.transaction(Scope.for_duty(await _tenant(runtime, slug), SERVICE_NAME)) as tx:
        version = await bump_tenant(tx)
        bumped = TokenVersionBumped(scope=TokenVersionScope.TENANT, person=None, version=version)
        await tx.append("token_version-tenant", version - 1, [EventDraft(bumped)])


async def contain_all(runtime: Runtime) -> int:
    """End every session in every tenant; return how many tenants there are. The platform's own log has it first."""
    async with runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, SERVICE_NAME)) as tx:
        stream = "token_version-all"
        before = len(await tx.load(stream))
        bumped = TokenVersionBumped(scope=TokenVersionScope.ALL, person=None, version=before + 1)
        await tx.append(stream, before, [EventDraft(bumped)])
    async with runtime.duty.duty() as duty:
        slugs = await all_slugs(duty)
    for slug in slugs:
        await contain_tenant(runtime, slug)
    return len(slugs)


async def record_rotation(runtime: Runtime, *, key: str, previous: str, distrusted: bool) -> None:
    """Write into the platform's log that tokens are signed with another key."""
    rotated = SigningKeyRotated(key_id=key, previous_key_id=previous, distrusted=distrusted)
    async with runtime.database.transaction(Scope.for_duty(PLATFORM_TENANT, SERVICE_NAME)) as tx:
        await tx.append(f"signing_key-{key}", 0, [EventDraft(rotated)])


async def contain(runtime: Runtime, arguments: Sequence[str]) -> int:
    """``contain``: end every session of a person, of a tenant, or of all."""
    parser = argparse.ArgumentParser(prog="tallystick_identity contain", description="End sessions at once.")
    scopes = parser.add_subparsers(dest="scope", required=True)
    person = scopes.add_parser("user")
    tenant = scopes.add_parser("tenant")
    for one in (person, tenant):
        one.add_argument("--tenant", required=True, metavar="SLUG")
    person.add_argument("--person", required=True, metavar="PSEUDONYM|ADDRESS")
    scopes.add_parser("all")
    given = parser.parse_args(list(arguments))
    try:
        if given.scope == "user":
            await contain_person(runtime, given.tenant, given.person)
            _say("every session of that person has ended")
        elif given.scope == "tenant":
            await contain_tenant(runtime, given.tenant)
            _say(f"every session in {given.tenant} has ended")
        else:
            _say(f"every session in {await contain_all(runtime)} tenants has ended")
    except ContainmentError as error:
        _say(f"tallystick: {error}")
        return 1
    return 0


async def record_key_rotation(runtime: Runtime, arguments: Sequence[str]) -> int:
    """``record-key-rotation``: what `tally keys rotate session` writes down before the new key signs."""
    parser = argparse.ArgumentParser(prog="tallystick_identity record-key-rotation")
    parser.add_argument("--key", required=True)
    parser.add_argument("--previous", required=True)
    parser.add_argument("--distrusted", action="store_true")
    given = parser.parse_args(list(arguments))
    await record_rotation(runtime, key=given.key, previous=given.previous, distrusted=given.distrusted)
    return 0


async def _tenant(runtime: Runtime, slug: str) -> TenantId:
    async with runtime.duty.duty() as duty:
        tenant = await tenant_by_slug(duty, slug)
    if tenant is None:
        msg = f"there is no tenant {slug}"
        raise ContainmentError(msg)
    return tenant


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
