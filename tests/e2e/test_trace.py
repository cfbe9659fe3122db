"""`tally trace`: one correlation id on one timeline, from the services' own stores alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweep.house import Builder, eventually
from sweep.visitor import Call

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-25b")]


def tally(layout, *arguments, expected=0):
    command = [Path(sys.executable).with_name("tally"), "trace", *arguments, "--dir", str(layout.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == expected, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def erased(house, tmp_path_factory):
    """Erase a person; return the correlation id and the timeline, once the job is complete."""
    builder, owner = Builder(house.layout, tmp_path_factory.mktemp("traced")), house.visitor("owner")
    person = {
        "email": "to-be-traced@trace.example",
        "display_name": "Tracey Gone",
        "org_unit_id": house.places["a"].unit,
    }
    made = builder.ask(owner, "identity POST /api/v1/identity/people", Call(json=person)).json()
    deleted = builder.ask(
        owner, "identity DELETE /api/v1/identity/people/{person_id}", Call(path={"person_id": made["id"]})
    )
    correlation = deleted.headers["X-Correlation-ID"]
    timeline = house.routes["ledger GET /api/v1/ledger/entries"]

    def complete():
        entries = owner.send(timeline, Call(query={"correlation": correlation})).json()["entries"]
        return any("privacy.user.anonymised" in entry["line"] for entry in entries)

    eventually(complete, "the whole erasure in the ledger")
    return correlation, json.loads(tally(house.layout, correlation, "--json"))


def test_the_timeline_has_what_every_service_stored_recorded_and_handled_in_order(erased):
    correlation, timeline = erased
    hops = timeline["hops"]
    assert timeline["correlation"] == correlation
    assert timeline["missing"] == []
    assert {hop["service"] for hop in hops if hop["what"] == "stored"} == {
        "identity",
        "assessment",
        "ledger",
        "verification",
        "privacy",
    }
    assert [hop["at"] for hop in hops] == sorted(hop["at"] for hop in hops)
    stored = {hop["event_id"] for hop in hops if hop["what"] == "stored"}
    assert stored == {hop["event_id"] for hop in hops if hop["what"] == "recorded"}
    handled = {(hop["event_type"], hop["consumer"]) for hop in hops if hop["what"] == "handled"}
    assert ("identity.user.deleted", "privacy") in handled
    assert ("privacy.erasure.ordered", "verification") in handled


def test_the_page_opens_offline_and_fetches_nothing(erased, house, tmp_path):
    correlation, timeline = erased
    page = tmp_path / "timeline.html"
    shown = tally(house.layout, correlation, "--html", str(page))
    text = page.read_text(encoding="utf-8")
    assert "identity.user.deleted" in shown
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<img|<iframe|url\(|https?://|@import|\son\w+=", text)
    assert text.count('class="bar"') == len({hop["event_id"] for hop in timeline["hops"]})
    assert all(hop["event_type"] in text for hop in timeline["hops"])


@pytest.mark.control("EV-25c")
def test_neither_the_timeline_nor_the_page_names_anybody(erased, house, tmp_path):
    correlation, timeline = erased
    page = tmp_path / "timeline.html"
    tally(house.layout, correlation, "--html", str(page))
    for text in (json.dumps(timeline), page.read_text(encoding="utf-8")):
        assert "trace.example" not in text
        assert "Tracey" not in text


@pytest.mark.control("EV-64")
def test_a_public_entry_is_not_joined_with_the_request_that_made_it(house):
    owner = house.visitor("owner")
    found = owner.send(
        house.routes["ledger GET /api/v1/ledger/entries"], Call(query={"type": "assessment.certificate.issued"})
    ).json()["entries"]
    correlation = json.loads(found[0]["line"])["event"]["correlation"]
    timeline = json.loads(tally(house.layout, correlation, "--json"))
    types = {hop["event_type"] for hop in timeline["hops"]}
    assert "assessment.certificate.issued" in types
    assert "assessment.credential.published" not in types


def test_what_services_printed_elsewhere_is_put_together(erased, house, tmp_path):
    correlation, timeline = erased
    files = []
    for service in ("identity", "ledger"):
        hops = [hop for hop in timeline["hops"] if hop["service"] == service]
        files.append(tmp_path / f"{service}.json")
        files[-1].write_text('{"event": "a log line"}\n' + json.dumps(hops), encoding="utf-8")
    arguments = [part for file in files for part in ("--from", str(file))]
    together = json.loads(tally(house.layout, correlation, "--json", *arguments))
    assert together["hops"] == [hop for hop in timeline["hops"] if hop["service"] in {"identity", "ledger"}]


def test_an_id_that_nothing_bears_is_said_to_be_one_and_a_malformed_one_is_refused(house):
    assert "nothing bears" in tally(house.layout, "f" * 32, expected=3)
    tally(house.layout, "not an id", expected=1)
