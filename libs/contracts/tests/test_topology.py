"""A NATS user may publish its own subjects only, and every durable reads events that exist."""

from itertools import combinations
from uuid import UUID

import pytest
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import (
    DURABLES,
    EVENT_STREAM,
    SERVICE_FOLDERS,
    SERVICE_PACKAGES,
    Durable,
    ServiceName,
    cloud_event_type,
    durables_of,
    event_subject,
    permissions_of,
)

TENANT = UUID("11111111-2222-4333-8444-555555555555")


def nats_matches(pattern: str, subject: str) -> bool:
    """Say whether a NATS subject pattern covers a subject; "*" is one token, ">" one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index >= len(given) or part not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def subjects() -> list[tuple[str, str, str]]:
    sources = {entry.type: [entry.service] if entry.service else list(ServiceName) for entry in REGISTRY}
    return [
        (source, entry.aggregate, event_subject(TENANT, source, entry.aggregate, entry.verb))
        for entry in REGISTRY
        for source in sources[entry.type]
    ]


@pytest.mark.parametrize("service", ServiceName)
def test_a_user_may_publish_exactly_the_events_of_its_own_service(service: ServiceName) -> None:
    allowed = permissions_of(service).publish
    for source, _, subject in subjects():
        assert any(nats_matches(pattern, subject) for pattern in allowed) == (source == service), subject


@pytest.mark.parametrize("service", ServiceName)
def test_a_user_manages_no_stream_and_no_consumer_and_reads_no_event_but_through_its_durables(
    service: ServiceName,
) -> None:
    permissions = permissions_of(service)
    for forbidden in (
        "$JS.API.STREAM.CREATE.EVT",
        "$JS.API.STREAM.DELETE.EVT",
        "$JS.API.STREAM.PURGE.EVT",
        "$JS.API.STREAM.MSG.DELETE.EVT",
        "$JS.API.CONSUMER.CREATE.EVT.mine",
        "$JS.API.CONSUMER.DELETE.EVT.ledger",
    ):
        assert not any(nats_matches(pattern, forbidden) for pattern in permissions.publish)
    others = {durable.name for durable in DURABLES if durable.service != service}
    for name in others:
        for stream in ("EVT", "RCPT"):
            wanted = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
            assert not any(nats_matches(pattern, wanted) for pattern in permissions.publish)
    for _, _, subject in subjects():
        assert not any(nats_matches(pattern, subject) for pattern in permissions.subscribe)
    inboxes = [pattern for pattern in permissions.subscribe if pattern.startswith("_INBOX")]
    assert inboxes == [f"_INBOX_{service}.>"]


def test_only_the_ledger_gives_receipts() -> None:
    givers = {s for s in ServiceName if any(nats_matches(p, "rcpt.identity") for p in permissions_of(s).publish)}
    assert givers == {ServiceName.LEDGER}


EVENT_DURABLES = [durable for durable in DURABLES if durable.stream == EVENT_STREAM]


@pytest.mark.parametrize("durable", EVENT_DURABLES, ids=lambda durable: durable.name)
def test_a_durable_says_the_same_in_subjects_and_in_filters(durable: Durable) -> None:
    for source, aggregate, subject in subjects():
        by_subject = any(nats_matches(pattern, subject) for pattern in durable.filter_subjects)
        assert durable.matches(source, aggregate) == by_subject


@pytest.mark.parametrize("durable", EVENT_DURABLES, ids=lambda durable: durable.name)
def test_every_filter_passes_some_event_and_no_event_passes_two(durable: Durable) -> None:
    passed = {wanted: {s for *_, s in subjects() if nats_matches(wanted, s)} for wanted in durable.filter_subjects}
    assert all(passed.values())
    # The server refuses a consumer whose filters overlap.
    assert all(a.isdisjoint(b) for a, b in combinations(passed.values(), 2))


def test_durable_names_are_unique_and_every_service_reads_its_receipts() -> None:
    assert len({durable.name for durable in DURABLES}) == len(DURABLES)
    for service in ServiceName:
        assert f"rcpt-{service}" in {durable.name for durable in durables_of(service)}


def test_only_the_privacy_worker_is_called_differently_in_the_tree() -> None:
    assert SERVICE_FOLDERS[ServiceName.PRIVACY] == "privacy-worker"
    assert SERVICE_PACKAGES[ServiceName.PRIVACY] == "tallystick_privacy_worker"
    assert SERVICE_PACKAGES[ServiceName.LEDGER] == "tallystick_ledger"


def test_the_cloud_event_type_carries_product_and_version() -> None:
    assert cloud_event_type("assessment.attempt.started", 1) == "dev.tallystick.assessment.attempt.started.v1"
