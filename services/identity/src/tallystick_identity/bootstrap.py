"""The operator's commands: the first tenant with its administrator, and further ones.

A tenant needs public keys before it can have people, so a command makes the tenant, waits for the privacy worker, then
makes the administrator. Killed between the two, it goes on where it was when it is given again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick_chassis.http.problems import Problem
from tallystick_chassis.ids import OrgUnitId, TenantId, new_id
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.capabilities import DEFAULT_ROLES, PARTICIPANT_ROLES
from tallystick_contracts.generated.identity import TenantCreated

from tallystick_identity.key_pool.store import pool_size
from tallystick_identity.org_units.commands import create_unit
from tallystick_identity.org_units.store import OrgUnit
from tallystick_identity.parts import make_parts
from tallystick_identity.people.commands import Newcomer
from tallystick_identity.people.domain import InvalidEmailError, InvalidNameError, display_name, email_address
from tallystick_identity.people.store import has_people
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.roles.commands import assign, create_role
from tallystick_identity.roles.store import GrantRow, all_roles
from tallystick_identity.tenants.domain import SLUG_RULE, is_slug
from tallystick_identity.tenants.store import all_slugs, has_day_key, insert_tenant, lock_tenants, tenant_by_slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime

    from tallystick_identity.people.commands import CreatedPerson

ADMINISTRATOR_ROLE = "administrator"  # seed data, like the roles themselves
KEY_WAIT_S = 60.0
_POLL_S = 0.2


class BootstrapError(Exception):
    """The command cannot do what it was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the operator asked for, checked."""

    slug: str
    name: str
    admin_email: str
    admin_name: str


async def create_tenant(runtime: Runtime, *, slug: str, name: str, first: bool = False) -> TenantId:
    """Create a tenant with its root unit and default roles in one transaction.

    A tenant of that slug that has no people yet is what a crash left: it is returned.
    ``first`` insists that there is no other tenant.

    Raises:
        BootstrapError: if the slug is taken, or ``first`` and there is another.
    """
    tenant = TenantId(new_id())
    async with runtime.database.transaction(Scope.for_duty(tenant, SERVICE_NAME)) as tx:
        await lock_tenants(tx)
        # The duty role sees all that has committed, and whoever else creates a tenant waits for this lock.
        async with runtime.duty.duty() as duty:
            slugs = await all_slugs(duty)
            existing = await tenant_by_slug(duty, slug)
        if first and set(slugs) - {slug}:
            msg = f"there is a tenant already ({slugs[0]}); `tally tenant add` makes further ones"
            raise BootstrapError(msg)
        if existing is None:
            await insert_tenant(tx, slug=slug, name=name, created_at=tx.clock())
            await tx.append(f"tenant-{tenant}", 0, [EventDraft(TenantCreated(slug=slug, name=name))])
            await create_unit(tx, OrgUnit(OrgUnitId(tenant), None, name, ""))
            for role, capabilities in sorted(DEFAULT_ROLES.items()):
                await create_role(
                    tx,
                    name=role,
                    capabilities={one.value for one in capabilities},
                    staff=role not in PARTICIPANT_ROLES,
                )
            return tenant
    async with runtime.database.transaction(Scope.for_duty(existing, SERVICE_NAME)) as tx:
        if await has_people(tx):
            msg = f"the tenant {slug} exists already and has its administrator"
            raise BootstrapError(msg)
    return existing


async def wait_for_keys(runtime: Runtime, tenant: TenantId, *, timeout_s: float = KEY_WAIT_S) -> None:
    """Wait until the privacy worker's keys for the tenant have arrived.

    Raises:
        BootstrapError: if they do not come in time.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        async with runtime.database.transaction(Scope.for_duty(tenant, SERVICE_NAME)) as tx:
            if await pool_size(tx) and await has_day_key(tx):
                return
        if asyncio.get_running_loop().time() > deadline:
            msg = (
                f"no keys came from the privacy worker in {timeout_s:.0f} s: see that it and identity's worker run, "
                "then give this command again; it goes on from here"
            )
            raise BootstrapError(msg)
        await asyncio.sleep(_POLL_S)


async def create_first_administrator(runtime: Runtime, tenant: TenantId, *, email: str, name: str) -> CreatedPerson:
    """Create the tenant's first person, with the administrator's role throughout the tenant.

    Raises:
        BootstrapError: if the tenant has people already.
    """
    people = make_parts(runtime).people
    async with runtime.database.transaction(Scope.for_duty(tenant, SERVICE_NAME)) as tx:
        await lock_tenants(tx)
        if await has_people(tx):
            msg = "the tenant has its administrator already"
            raise BootstrapError(msg)
        root = tx.scope.root_unit
        (person,) = await people.create(tx, [Newcomer(email, name, root)])
        roles = {role.name: role.id for role in await all_roles(tx)}
        await assign(
            tx,
            GrantRow(new_id(), person.person, roles[ADMINISTRATOR_ROLE], root, subtree=True, expires_at=None),
        )
        return person


async def init(runtime: Runtime, arguments: Sequence[str]) -> int:
    """``init``: the first tenant and its administrator, once."""
    return await _command(runtime, "init", arguments, first=True)


async def add_tenant(runtime: Runtime, arguments: Sequence[str]) -> int:
    """``add-tenant``: a further tenant and its administrator."""
    return await _command(runtime, "add-tenant", arguments, first=False)


async def _command(runtime: Runtime, command: str, arguments: Sequence[str], *, first: bool) -> int:
    try:
        asked = _read(command, arguments)
        tenant = await create_tenant(runtime, slug=asked.slug, name=asked.name, first=first)
        _say(f"tenant {asked.slug}: waiting for its keys")
        await wait_for_keys(runtime, tenant)
        await create_first_administrator(runtime, tenant, email=asked.admin_email, name=asked.admin_name)
    except BootstrapError as error:
        _say(f"tallystick: {error}")
        return 1
    except Problem as problem:
        _say(f"tallystick: {problem.title}")
        return 1
    address = f"{runtime.settings.public_url.rstrip('/')}/sign-in/{asked.slug}"
    _say(f"tenant {asked.slug}: ready; its administrator signs in at {address}")
    label = "tenant id: " if sys.stdout.isatty() else ""  # a pipe gets the id alone
    sys.stdout.write(f"{label}{tenant}\n")
    return 0


def _read(command: str, arguments: Sequence[str]) -> Request:
    parser = argparse.ArgumentParser(prog=f"tallystick_identity {command}", description="Create a tenant.")
    parser.add_argument("--tenant", required=True, metavar="SLUG", help=SLUG_RULE)
    parser.add_argument("--name", required=True, help="the organisation's name")
    parser.add_argument("--admin-email", "--admin", required=True, help="the first administrator's mail address")
    parser.add_argument("--admin-name", default="Administrator", help="the first administrator's name")
    given = parser.parse_args(list(arguments))
    if not is_slug(given.tenant):
        msg = f"--tenant must be {SLUG_RULE}"
        raise BootstrapError(msg)
    try:
        return Request(
            slug=given.tenant,
            name=display_name(given.name),
            admin_email=email_address(given.admin_email),
            admin_name=display_name(given.admin_name),
        )
    except InvalidEmailError as error:
        msg = f"--admin {error}"
        raise BootstrapError(msg) from None
    except InvalidNameError as error:
        msg = f"--name and --admin-name {error}"
        raise BootstrapError(msg) from None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
