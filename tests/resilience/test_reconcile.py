"""A superuser changes what a service holds behind the ledger's back: `tally audit reconcile` names the row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from sweep.auditor import cookies_of, export, reconcile, superuser
from sweep.house import Builder, House
from sweep.recipes import exam
from sweep.visitor import Call
from tallystick_cli.main import app
from typer.testing import CliRunner

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-23")]


@pytest.fixture
def tamper(house: House) -> Iterator[Callable[[str, str, str], None]]:
    """Run a statement; afterwards the table's rows of a condition are as they were: others use the house, too."""
    sql, undoing = superuser(house), []

    def change(table: str, where: str, statement: str) -> None:
        rows = sql(f"select coalesce(jsonb_agg(t), '[]') from {table} t where {where}").replace("'", "''")
        undoing.append(f"delete from {table} where {where}")
        undoing.append(f"insert into {table} select * from jsonb_populate_recordset(null::{table}, '{rows}')")
        sql(statement)

    yield change
    sql(*undoing)


@pytest.fixture
def logs(house: House, tmp_path: Path) -> Path:
    return export(house, tmp_path / "logs")


def test_what_nobody_touched_agrees_with_erased_people_and_revoked_certificates_among_it(house, logs):
    found = reconcile(house, logs)
    assert (found["status"], found["differences"], found["under_way"]) == ("agrees", [], 0)
    compared = {one["service"]: one for one in found["services"]}
    assert all(one["left_out"] == [] for one in compared.values())
    assert {name: one["rows"] > 0 for name, one in compared.items()} == {
        "identity": True,
        "assessment": True,
        "ledger": False,  # nothing but its event store
        "verification": True,
        "privacy": True,
    }
    assert found["events"] == found["entries"] > 100


CHANGES = {
    "a score": ("score_version", "points_milli", "{submission}/1", "points_milli = points_milli + 1"),
    "what an item earned, the total left alone": (
        "score_version",
        "item_points_sum",
        "{submission}/1",
        "item_points = '{{\"q1\":9}}'",
    ),
    "what a submission was taken under": (
        "submission",
        "snapshot_sha256",
        "{submission}",
        "snapshot = snapshot || ' '::bytea",
    ),
    "an answer": ("answer", "answer_hash", "{attempt}/q1/1", "answer_hash = reverse(answer_hash)"),
    "an assignment, taken back": ("assignment", "revoked", "{assignment}", "revoked_at = now()"),
    "a role's capabilities": ("role", "capabilities", "{role}", "capabilities = capabilities || array['forge']"),
    "the key that a person's data is sealed to": (
        "directory_person",
        "public_key",
        "{person}",
        "public_key = sha256(public_key)",
    ),
}
ROWS = {
    "score_version": ("assessment.score_versions", "submission_id = '{submission}' and score_version = 1"),
    "submission": ("assessment.submissions", "id = '{submission}'"),
    "answer": ("assessment.answers", "attempt_id = '{attempt}' and revision = 1"),
    "assignment": ("assessment.assignments", "id = '{assignment}'"),
    "role": ("identity.roles", "id = '{role}'"),
    "directory_person": ("assessment.directory_people", "person = '{person}'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_is_named_with_the_entry_that_says_otherwise(house, logs, tamper, change):
    ids = asdict(house.places["a"])
    kind, field, key, assignment = (text.format(**ids) for text in CHANGES[change])
    table, where = (text.format(**ids) for text in ROWS[kind])
    tamper(table, where, f"update {table} set {assignment} where {where}")
    (found,) = reconcile(house, logs)["differences"]
    assert (found["code"], found["kind"], found["key"], found["field"]) == ("row_changed", kind, key, field)
    assert found["expected"] != found["present"]
    line = (logs / found["log"].rpartition("/")[2] / "entries.ndjson").read_bytes().splitlines()[found["seq"]]
    assert key.split("/")[0].encode() in line


def test_a_deleted_grant_is_named(house, logs, tamper):
    grant = house.places["a"].grant
    tamper("identity.grants", f"id = '{grant}'", f"delete from identity.grants where id = '{grant}'")
    (found,) = reconcile(house, logs)["differences"]
    assert (found["code"], found["service"], found["kind"], found["key"]) == ("row_missing", "identity", "grant", grant)


def test_an_inserted_certificate_and_an_inserted_public_credential_are_named(house, logs, tamper):
    ids, forged = house.places["a"], "deadbeef-dead-4ead-8ead-deadbeefdead"
    other = json.dumps({"id": forged, "submission_id": forged, "reference": "forged"})
    tamper(
        "assessment.certificates",
        f"id = '{forged}'",
        "insert into assessment.certificates select o.* from assessment.certificates t, "
        f"jsonb_populate_record(t, '{other}') o where t.id = '{ids.certificate}'",
    )
    tamper(
        "verification.credentials",
        "reference = 'forged'",
        "insert into verification.credentials (tenant_id, reference, event_id, commitment, credential_type, issuer, "
        f"issued_at, proof_due_at) values ('{ids.tenant}', 'forged', '{forged}', 'c', 'evaluation', 'North', now(), "
        "now() + interval '1 hour')",
    )
    assert [(one["code"], one["kind"], one["key"]) for one in reconcile(house, logs)["differences"]] == [
        ("row_extra", "certificate", forged),
        ("row_extra", "credential", "forged"),
    ]


def test_an_edited_event_is_named(house, logs, tamper):
    stream = f"score-{house.places['a'].submission}"
    where = f"stream = '{stream}' and stream_version = 1"
    tamper("assessment.events", where, f"update assessment.events set body = body || ' '::bytea where {where}")
    (found,) = reconcile(house, logs)["differences"]
    assert (found["code"], found["service"], found["field"]) == ("event_changed", "assessment", "sha256")
    assert stream in found["key"]


def test_a_deleted_event_is_named(house, logs, tamper):
    where = f"stream = 'score-{house.places['a'].submission}' and stream_version = 1"
    tamper("assessment.events", where, f"delete from assessment.events where {where}")
    (found,) = reconcile(house, logs)["differences"]
    assert (found["code"], found["kind"]) == ("event_gone", "assessment.score.recorded")


def test_an_event_that_was_kept_from_the_ledger_is_named_once_it_could_have_arrived(house, logs, tamper):
    kept_back = "feedface-feed-4eed-8eed-feedfacefeed"
    other = json.dumps({"event_id": kept_back, "stream": "score-kept-back"})
    tamper(
        "assessment.events",
        f"event_id = '{kept_back}'",
        "insert into assessment.events select o.* from assessment.events t, "
        f"jsonb_populate_record(t, '{other}') o where t.stream = 'score-{house.places['a'].submission}' "
        "and t.stream_version = 1",
    )
    assert reconcile(house, logs, grace_s=86_400)["under_way"] == 1
    (found,) = reconcile(house, logs, grace_s=0)["differences"]
    assert (found["code"], found["kind"]) == ("event_withheld", "assessment.score.recorded")
    assert kept_back in found["key"]


def test_what_happened_after_the_export_is_no_difference(house, logs, tmp_path):
    builder, owner, ids = Builder(house.layout, tmp_path), house.visitor("owner"), house.places["a"]
    publish = "assessment POST /api/v1/assessment/evaluations"
    builder.ask(owner, publish, Call(json=exam("exam-after-the-export")))
    person = {"email": "later@reconcile.example", "display_name": "Later On", "org_unit_id": ids.unit}
    made = builder.ask(owner, "identity POST /api/v1/identity/people", Call(json=person)).json()
    builder.ask(owner, "identity DELETE /api/v1/identity/people/{person_id}", Call(path={"person_id": made["id"]}))
    found = reconcile(house, logs)
    assert (found["status"], found["differences"]) == ("agrees", [])
    assert found["under_way"] > 3


def test_whoever_does_not_reach_every_unit_is_told_so_instead_of_false_alarms(house, logs):
    arguments = ["audit", "reconcile", str(logs), "--ca", str(house.layout.ca_file), *cookies_of(house, "neighbour")]
    result = CliRunner().invoke(app, [*arguments, "--service", f"assessment={house.urls['assessment']}"])
    assert result.exit_code == 2
    assert "403" in result.stderr
