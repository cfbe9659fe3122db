"""The operator's commands that make tenants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tallystick_contracts.capabilities import DEFAULT_ROLES
from tallystick_identity.bootstrap import BootstrapError, add_tenant, create_tenant, init, wait_for_keys
from tallystick_identity.tenants.store import tenant_by_slug

if TYPE_CHECKING:
    from conftest import Identity

ARGUMENTS = ["--name", "Aurora", "--admin-email", "ada@aurora.example", "--admin-name", "Ada"]


async def _mint_when_created(identity: Identity, slug: str) -> None:
    """Stand in for the privacy worker: mint keys once the tenant is there."""
    tenant = None
    while tenant is None:
        async with identity.runtime.duty.duty() as duty:
            tenant = await tenant_by_slug(duty, slug)
        await asyncio.sleep(0.02)
    await identity.mint_keys(tenant)
    await identity.mint_day_key(tenant, slug)


async def test_init_makes_the_first_tenant_once(empty_identity: Identity, capsys: pytest.CaptureFixture[str]) -> None:
    identity = empty_identity
    minting = asyncio.create_task(_mint_when_created(identity, "aurora"))
    assert await init(identity.runtime, ["--tenant", "aurora", *ARGUMENTS]) == 0
    await minting
    async with identity.runtime.duty.duty() as duty:
        tenant = await tenant_by_slug(duty, "aurora")
    assert tenant is not None
    types = [event.type for event in await identity.events(tenant)]
    assert types.count("identity.role.changed") == len(DEFAULT_ROLES)
    assert types[:2] == ["identity.tenant.created", "identity.org_unit.created"]
    assert types[-2:] == ["identity.user.created", "identity.role.assigned"]
    before = len(types)
    assert await init(identity.runtime, ["--tenant", "aurora", *ARGUMENTS]) == 1
    assert await init(identity.runtime, ["--tenant", "borealis", *ARGUMENTS]) == 1
    assert len(await identity.events(tenant)) == before
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "`tally tenant add`" in said
    assert f"signs in at {identity.runtime.settings.public_url}/sign-in/aurora\n" in said
    minting = asyncio.create_task(_mint_when_created(identity, "borealis"))
    assert await add_tenant(identity.runtime, ["--tenant", "borealis", *ARGUMENTS]) == 0
    await minting
    assert await add_tenant(identity.runtime, ["--tenant", "borealis", *ARGUMENTS]) == 1


async def test_init_goes_on_where_a_crash_stopped_it(empty_identity: Identity) -> None:
    identity = empty_identity
    tenant = await create_tenant(identity.runtime, slug="aurora", name="Aurora", first=True)
    await identity.mint_keys(tenant)
    await identity.mint_day_key(tenant, "aurora")
    assert await init(identity.runtime, ["--tenant", "aurora", *ARGUMENTS]) == 0
    types = [event.type for event in await identity.events(tenant)]
    assert types.count("identity.tenant.created") == 1
    assert types.count("identity.user.created") == 1


async def test_two_inits_at_once_make_one_tenant(empty_identity: Identity) -> None:
    identity = empty_identity
    outcomes = await asyncio.gather(
        *(
            create_tenant(identity.runtime, slug=slug, name="X", first=True)
            for slug in ("aurora", "borealis", "cirrus")
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(one, BootstrapError) for one in outcomes) == 2


async def test_waiting_for_keys_gives_up_with_advice(identity: Identity) -> None:
    tenant = await create_tenant(identity.runtime, slug="waiting", name="Waiting")
    with pytest.raises(BootstrapError, match="goes on from here"):
        await wait_for_keys(identity.runtime, tenant, timeout_s=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--tenant", "A!", "--name", "A", "--admin-email", "a@b.example"],
        ["--tenant", "abc", "--name", "A", "--admin-email", "nobody"],
        ["--tenant", "abc", "--name", "", "--admin-email", "a@b.example"],
    ],
)
async def test_bad_arguments_are_one_line(
    identity: Identity, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert await add_tenant(identity.runtime, wrong) == 1
    assert capsys.readouterr().err.count("\n") == 1
