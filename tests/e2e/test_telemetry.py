"""What the running system exports by OTLP: one correlation id is in spans of every service that had to do with it."""

from __future__ import annotations

import pytest
from otlp_sink import OtlpSink, SeenSpan
from sweep.house import Builder, eventually
from sweep.recipes import exam
from sweep.visitor import Call
from tallystick_chassis.metric_catalogue import METRICS

pytestmark = pytest.mark.xdist_group("system")

SERVICES = {"identity", "assessment", "ledger", "verification", "privacy"}
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5

NEEDS_A_MISHAP = {"tallystick.dead_letters", "tallystick.rate_limit.exceeded", "tallystick.receipts.refused"}
"""What a system that is well does not send; `libs/chassis/tests/test_measured_mishaps.py` makes each happen."""


@pytest.fixture(scope="module")
def erased(house, tmp_path_factory) -> str:
    """Erase a person, and return the correlation id of the request that ordered it."""
    builder, owner, ids = Builder(house.layout, tmp_path_factory.mktemp("erased")), house.visitor("owner"), house.places
    person = {"email": "seen@telemetry.example", "display_name": "Soon Gone", "org_unit_id": ids["a"].unit}
    made = builder.ask(owner, "identity POST /api/v1/identity/people", Call(json=person)).json()
    deleted = builder.ask(
        owner, "identity DELETE /api/v1/identity/people/{person_id}", Call(path={"person_id": made["id"]})
    )
    return deleted.headers["X-Correlation-ID"]


@pytest.fixture(scope="module")
def spans(erased: str, otlp_sink: OtlpSink) -> list[SeenSpan]:
    """Return the spans that bear the erasure's id, once they have come from everywhere."""

    def found() -> list[SeenSpan] | None:
        seen = [one for one in otlp_sink.spans() if one.correlation == erased]
        names = {one.name for one in seen}
        # Each process sends on its own: the request's own span may come after all that it caused.
        asked = any((one.service, one.kind) == ("identity", SERVER) for one in seen)
        done = {one.service for one in seen} >= SERVICES and names >= {
            "record",
            "process verification.erasure_receipt.given",
        }
        return seen if done and asked else None

    return eventually(found, "spans of all five services")


@pytest.mark.control("EV-25b")
@pytest.mark.control("EV-63")
def test_one_correlation_id_is_in_spans_of_every_service_that_handled_what_a_request_caused(spans):
    assert {one.service for one in spans} == SERVICES
    assert ("identity", "api", SERVER, "DELETE /api/v1/identity/people/{person_id}") in {
        (one.service, one.process, one.kind, one.name) for one in spans
    }
    assert {one.service for one in spans if one.kind == CONSUMER} >= SERVICES - {"identity"}
    assert "identity" in {one.service for one in spans if one.kind == PRODUCER}


@pytest.mark.control("EV-25b")
def test_outbox_broker_inbox_and_ledger_are_in_the_requests_own_trace_and_consumers_link_to_their_producer(
    erased, spans, otlp_sink
):
    (request,) = [one for one in spans if one.kind == SERVER and one.service == "identity"]
    in_trace = {one.name for one in spans if one.trace == request.trace}
    assert in_trace >= {"publish EVT", "record", "process identity.user.deleted", "process privacy.erasure.ordered"}

    def astray() -> list[SeenSpan]:
        seen = [one for one in otlp_sink.spans() if one.correlation == erased]
        own = {(one.trace, one.id) for one in seen}
        handled = [one for one in seen if one.name.startswith("process ")]
        assert handled
        return [one for one in handled if set(one.links) != {(one.trace, one.parent)} or not set(one.links) <= own]

    # Each process sends on its own; what a span links to may come a second later.
    eventually(lambda: not astray() or None, "the producer's span of every event that was handled")


@pytest.mark.control("EV-25b")
@pytest.mark.control("X-07")
def test_the_log_line_of_the_request_leaves_too_with_the_same_id_and_trace(erased, spans, otlp_sink):
    (request,) = [one for one in spans if one.kind == SERVER and one.service == "identity"]
    line = eventually(
        lambda: next(
            (
                one
                for one in otlp_sink.lines()
                if one.body == "request" and one.attributes.get("tallystick.correlation_id") == erased
            ),
            None,
        ),
        "the log line",
    )
    assert (line.service, line.process, line.trace) == ("identity", "api", request.trace)


@pytest.mark.control("EV-25b")
def test_a_mail_is_sent_under_the_id_of_the_request_that_asked_for_it(spans, otlp_sink):
    assert spans
    seen = otlp_sink.spans()
    ways = {"POST /api/v1/auth/login", "POST /sign-in/{tenant}"}
    asked = {one.correlation for one in seen if one.kind == SERVER and one.name in ways}
    mailed = [one for one in seen if one.name == "send mail"]
    assert mailed
    assert {(one.service, one.process, one.kind) for one in mailed} == {("identity", "worker", CLIENT)}
    assert {one.correlation for one in mailed} <= asked


def test_every_metric_of_the_catalogue_is_sent_and_none_that_is_not_in_it(house, spans, otlp_sink):
    assert spans
    assert house.visitor("owner")
    usual = set(METRICS) - NEEDS_A_MISHAP
    eventually(lambda: usual <= {one.metric for one in otlp_sink.points()} or None, "every metric")
    seen = otlp_sink.points()
    assert {one.metric for one in seen} <= set(METRICS)
    for one in seen:
        metric = METRICS[one.metric]
        assert set(one.attributes) <= set(metric.attributes)
        assert one.unit == metric.unit
        assert one.process in metric.roles
    measured = [one for one in seen if one.metric == "http.server.request.duration"]
    assert [one for one in measured if one.exemplars]
    traces = {one.trace for one in otlp_sink.spans()}
    assert {trace for one in measured for trace in one.exemplars} & traces


@pytest.mark.control("EV-63")
@pytest.mark.control("IR-01")
def test_what_the_ledger_records_is_counted_by_type_from_zero_so_that_the_first_of_a_rare_one_is_an_increase(
    house, otlp_sink
):
    def counted(event_type: str) -> list[float]:
        return [
            one.value
            for one in otlp_sink.points()
            if one.metric == "tallystick.ledger.recorded"
            and one.process == "worker"
            and one.attributes == {"tallystick.event.type": event_type}
        ]

    eventually(lambda: counted("authz.cross_tenant.attempted") or None, "the counter")
    published = "assessment.evaluation.version_published"
    before = eventually(lambda: counted(published) or None, "the counter")
    assert before[0] == 0
    owner = house.visitor("owner")
    route = house.routes["assessment POST /api/v1/assessment/evaluations"]
    assert owner.send(route, Call(json=exam("exam-of-telemetry"))).status_code == 201
    eventually(lambda: counted(published)[-1] > before[-1] or None, "an increase")
