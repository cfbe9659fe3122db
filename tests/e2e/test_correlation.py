"""One correlation id per request, minted by us, in everything that follows; what the client calls it is kept beside."""

from __future__ import annotations

import msgspec
import pytest
from sweep.house import Builder, eventually
from sweep.recipes import Ids, exam
from sweep.visitor import Call
from tallystick_cli.stack import boot, database_setup, state
from tallystick_cli.stack.services import DATABASE

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-25b")]


def test_the_id_in_the_answer_is_in_the_event_the_ledger_and_the_log_and_the_clients_own_beside_it(house):
    owner = house.visitor("owner")
    publish = house.routes["assessment POST /api/v1/assessment/evaluations"]
    answer = owner.send(publish, Call(json=exam("exam-of-correlation")), headers={"X-Correlation-ID": "mine.42"})
    assert answer.status_code == 201
    correlation = answer.headers["X-Correlation-ID"]
    assert correlation != "mine.42"

    servers = boot.describe(house.layout, state.read(house.layout))
    query = (
        "select distinct client_correlation, convert_from(body, 'UTF8')::json ->> 'correlation' "
        f"from assessment.events where correlation = '{correlation}'"
    )
    assert database_setup.run_sql(servers, DATABASE, [query]).split() == [f"mine.42|{correlation}"]

    timeline = house.routes["ledger GET /api/v1/ledger/entries"]

    def recorded() -> list[str]:
        entries = owner.send(timeline, Call(query={"correlation": correlation})).json()["entries"]
        return [entry["line"] for entry in entries]

    lines = eventually(recorded, "the ledger's entries")
    assert all(msgspec.json.decode(line)["event"]["correlation"] == correlation for line in lines)

    log = [msgspec.json.decode(line) for line in house.layout.log_file("assessment-api").read_bytes().splitlines()]
    (request,) = [line for line in log if line.get("correlation_id") == correlation and line["event"] == "request"]
    assert (request["client_correlation_id"], request["status"]) == ("mine.42", 201)


def test_an_erasure_has_the_id_of_the_request_that_ordered_it_in_all_five_services(house, tmp_path):
    """The id goes through the outbox, the broker, four workers and their own events."""
    builder, owner, ids = Builder(house.layout, tmp_path), house.visitor("owner"), house.places["a"]
    person = {"email": "to-be-erased@correlation.example", "display_name": "Gone Soon", "org_unit_id": ids.unit}
    made = builder.ask(owner, "identity POST /api/v1/identity/people", Call(json=person)).json()
    deleted = builder.ask(
        owner, "identity DELETE /api/v1/identity/people/{person_id}", Call(path={"person_id": made["id"]})
    )
    correlation = deleted.headers["X-Correlation-ID"]
    servers = boot.describe(house.layout, state.read(house.layout))
    services = ("identity", "assessment", "ledger", "verification", "privacy")
    query = " union all ".join(
        f"select '{one}' where exists (select from {one}.events where correlation = '{correlation}')"
        for one in services
    )
    eventually(
        lambda: set(database_setup.run_sql(servers, DATABASE, [query]).split()) == set(services) or None,
        "events of all five services",
    )
    assert Ids().correlation != correlation
