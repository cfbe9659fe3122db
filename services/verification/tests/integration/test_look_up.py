"""The one door past the silo: one function, one row, by its exact reference; and no other way in."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tallystick_chassis.inbox import FeedKey
from tallystick_chassis.scope import Scope
from tallystick_chassis.self_test import findings
from tallystick_contracts.generated.common import ErasureOutcome
from tallystick_contracts.generated.privacy import ErasureOrdered
from tallystick_contracts.generated.verification import ErasureReceiptGiven

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Runtime


async def test_without_a_scope_the_runtime_role_sees_no_row_of_any_table(
    runtime: Runtime, assessment, tenant: TenantId
) -> None:
    issued = await assessment.publish(tenant)
    await assessment.withdraw(tenant, issued.reference)
    async with runtime.database.unscoped() as connection:
        # Nor by pretending to be the look-up.
        await connection.execute(
            text("select set_config('app.public_reference', :reference, true)"), {"reference": issued.reference}
        )
        for table in ("credentials", "withdrawals", "source_cursors"):
            rows = await connection.execute(text(f"select count(*) from verification.{table}"))  # noqa: S608
            assert rows.scalar_one() == 0, table


async def test_another_tenants_scope_sees_none_of_it(runtime: Runtime, assessment, tenant: TenantId) -> None:
    await assessment.publish(tenant)
    async with runtime.database.transaction(Scope.for_duty(uuid4(), "verification")) as tx:
        assert (await tx.execute(text("select count(*) from verification.credentials"))).scalar_one() == 0


@pytest.mark.parametrize("wanted", ["", "%", "_" * 43, None])
async def test_the_function_matches_exactly(runtime: Runtime, assessment, tenant: TenantId, wanted: str | None) -> None:
    await assessment.publish(tenant)
    async with runtime.database.unscoped() as connection:
        rows = await connection.execute(text("select * from verification.find_credential(:wanted)"), {"wanted": wanted})
        assert rows.all() == []


async def test_only_the_runtime_role_may_call_the_function(runtime: Runtime) -> None:
    async with runtime.duty.duty() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text("select * from verification.find_credential('x')"))


async def test_the_function_runs_as_the_owner_with_a_fixed_search_path(runtime: Runtime) -> None:
    async with runtime.database.unscoped() as connection:
        rows = await connection.execute(
            text(
                "select p.proname, pg_get_userbyid(p.proowner) as owner, p.proconfig from pg_proc p "
                "join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'verification' and p.prosecdef"
            )
        )
        found = rows.all()
    assert [(row.proname, row.owner) for row in found] == [("find_credential", "tally_verification_owner")]
    assert found[0].proconfig == ["search_path=pg_catalog, pg_temp"]


async def test_what_was_published_cannot_be_changed_or_deleted(runtime: Runtime, assessment, tenant: TenantId) -> None:
    issued = await assessment.publish(tenant)
    await assessment.withdraw(tenant, issued.reference)
    for statement in (
        "update verification.credentials set issuer = 'x'",
        "delete from verification.credentials",
        "delete from verification.withdrawals",
        "update verification.withdrawals set withdrawn_at = now()",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with runtime.database.transaction(Scope.for_duty(tenant, "verification")) as tx:
                await tx.execute(text(statement))


async def test_every_table_of_the_service_is_closed(runtime: Runtime) -> None:
    assert await findings(runtime.database) == []


async def test_an_erasure_is_answered_with_nothing_held(
    runtime: Runtime, assessment, encoded, tenant: TenantId
) -> None:
    person, job = "p_" + "A" * 22, uuid4()
    unit = uuid4()
    body = encoded(
        ErasureOrdered(job_id=str(job), person=person), uuid4(), correlation="c" * 32, org_unit=unit, subject=person
    )
    await assessment.deliver(tenant, body, FeedKey("privacy", "erasure"), uuid4())
    async with runtime.database.transaction(Scope.for_duty(tenant, "verification")) as tx:
        (receipt,) = await tx.load(f"erasure:{job}")
    assert isinstance(receipt.data, ErasureReceiptGiven)
    assert (receipt.data.person, receipt.data.job_id) == (person, str(job))
    assert [(one.name, one.items, one.outcome) for one in receipt.data.stores] == [
        ("credentials", 0, ErasureOutcome.NOTHING_HELD)
    ]
    assert (receipt.correlation, receipt.org_unit) == ("c" * 32, unit)
