"""What a system that is well does not measure: dead letters, exceeded budgets, receipts that do not hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import text
from tallystick_assessment.app import SERVICE
from tallystick_chassis import metrics
from tallystick_chassis.budgets import LOGIN_ADDRESS
from tallystick_chassis.outbox_watch import OutboxWatch
from tallystick_chassis.process import make_runtime
from tallystick_chassis.rate_limits import Charge, RateLimiter
from tallystick_chassis.receipts import ReceiptReader
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_contracts.topology import ServiceName

TENANT = UUID(int=7)
LETTER = text(
    "insert into assessment.dead_letters select :tenant, 'assessment', gen_random_uuid(), 'identity', 'user', 1, '', "
    "'ValueError', 10, now(), now(), :state, null"
)
EVENT = text(
    "insert into assessment.events (tenant_id, stream, stream_version, event_id, type, aggregate, org_unit_id, "
    "correlation, body, stored_at) values (:tenant, :stream, 1, :event, 'a.b.c', 'b', :tenant, 'c', '', :at)"
)
WAITING = text(
    "insert into assessment.outbox (tenant_id, event_id, aggregate, published_at) values (:tenant, :event, 'b', null)"
)
PUBLISHED = text("update assessment.outbox set published_at = now() where event_id = :event")


@pytest.fixture
def measured():
    """Return what was measured: metric to values by attributes."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics.use(metrics.Meters(provider.get_meter("test")))

    def read():
        found = {}
        for group in reader.get_metrics_data().resource_metrics:
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        found.setdefault(metric.name, {})[tuple(point.attributes.values())] = point.value
        return found

    yield read
    metrics.use(None)
    provider.shutdown()


@pytest.fixture
async def runtime(migrated_databases):
    made = make_runtime(
        SERVICE, load_settings(SERVICE.settings, migrated_databases.environment(ServiceName.ASSESSMENT))
    )
    yield made
    await made.close()


async def test_what_waits_in_the_outbox_and_among_dead_letters_is_measured_over_all_tenants(runtime, measured):
    watch = OutboxWatch(runtime.duty)
    await watch.step()
    empty = measured()
    assert empty["tallystick.outbox.age"] == {(): 0}
    assert "tallystick.dead_letters" not in empty

    scope = Scope.for_duty(TENANT, "assessment")
    first, second = uuid4(), uuid4()
    old = datetime.now(UTC) - timedelta(minutes=10)
    async with runtime.database.transaction(scope) as tx:
        for state in ("open", "retrying", "discarded"):
            await tx.execute(LETTER, {"tenant": TENANT, "state": state})
        for event, at in ((first, datetime.now(UTC)), (second, old)):
            await tx.execute(EVENT, {"tenant": TENANT, "stream": str(event), "event": event, "at": at})
            await tx.execute(WAITING, {"tenant": TENANT, "event": event})
    async with runtime.duty.duty() as connection:
        await connection.execute(PUBLISHED, {"event": first})
    await watch.step()
    found = measured()
    assert found["tallystick.outbox.unpublished"] == {(): 1}
    assert found["tallystick.receipts.outstanding"] == {(): 1}
    assert 600 <= found["tallystick.outbox.age"][()] < 700
    assert found["tallystick.dead_letters"] == {("assessment",): 2}


async def test_a_consumer_without_dead_letters_any_more_is_measured_as_0(runtime, measured):
    watch = OutboxWatch(runtime.duty)
    async with runtime.database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        await tx.execute(LETTER, {"tenant": TENANT, "state": "open"})
    await watch.step()
    async with runtime.database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        await tx.execute(text("update assessment.dead_letters set state = 'retried'"))
    await watch.step()
    assert measured()["tallystick.dead_letters"] == {("assessment",): 0}


async def test_a_request_over_a_budget_is_counted_by_the_budgets_name_alone(runtime, measured):
    limiter = RateLimiter(key=b"k" * 32, limits={LOGIN_ADDRESS.name: 1})
    async with runtime.database.transaction(Scope.for_duty(TENANT, "assessment")) as tx:
        for _ in range(3):
            await limiter.count(tx, [Charge(LOGIN_ADDRESS, "192.0.2.1")])
    assert measured()["tallystick.rate_limit.exceeded"] == {("login.address",): 2}


async def test_a_receipt_that_does_not_hold_is_counted(runtime, measured):
    ended = []

    async def term():
        ended.append(True)

    reader = ReceiptReader(duty=runtime.duty, pull=None, ledger_key=b"k" * 32, origin="tallystick.local")
    await reader._take(SimpleNamespace(payload=b"no receipt", term=term))
    assert ended
    assert measured()["tallystick.receipts.refused"] == {(): 1}
