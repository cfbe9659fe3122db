"""Names, addresses, answers and reasons go through every flow; afterwards they are looked for in everything that
stays.

Each canary is a string that stands nowhere else. Where it may be: in the mail that was sent, and in what is
encrypted, which does not show it. Looked through are the logs of every process, the broker's files, the database as a
dump (texts, and byte columns as text and in hexadecimal and base64), Postgres' own files with the write-ahead log,
and the exports of both ledgers.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sweep.house import Builder, eventually
from sweep.recipes import Ids, exam
from sweep.visitor import Call, Visitor
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import boot, postgres_home, state
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.services import DATABASE, KEYS_DATABASE

pytestmark = pytest.mark.xdist_group("system")

API = "assessment {} /api/v1/assessment/{}".format
PEOPLE = "identity {} /api/v1/identity/people{}".format


def canary(kind: str) -> str:
    return f"canary{kind}{secrets.token_hex(6)}"


@dataclass
class Story:
    """What was said on the way, and what the two people hold in the end."""

    builder: Builder
    said: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, list[str]] = field(default_factory=dict)
    exports: bytes = b""


@pytest.fixture(scope="module")
def story(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Two people take exams, one of them two; an erasure, a remediation and a revocation give reasons."""
    told = Story(Builder(layout, tmp_path_factory.mktemp("canaries")))
    with everybody() as people:
        play(told, people)
        yield told


@contextmanager
def everybody() -> Iterator[dict[str, Visitor]]:
    people: dict[str, Visitor] = {}
    try:
        yield people
    finally:
        for person in people.values():
            person.close()


def play(told: Story, people: dict[str, Visitor]) -> None:
    builder, said = told.builder, told.said
    said |= {kind: canary(kind) for kind in ("admin", "first", "second", "leaver", "agent", "answer", "guess")}
    said |= {kind: f"Reason {canary(kind)} given" for kind in ("mended", "revoked", "deleted")}
    said |= {f"name of {who}": f"Name{canary(who)} Of" for who in ("first", "second", "leaver")}
    tenant = f"canary-{secrets.token_hex(3)}"
    made = create_tenant(
        builder.layout.root,
        command="add-tenant",
        slug=tenant,
        name="Canaries",
        admin=f"{said['admin']}@{tenant}.example",
    )
    assert made == 0
    people |= builder.sign_in(tenant, said["admin"], user_agent=said["agent"])
    admin = people[said["admin"]]
    role = builder.do(admin, "identity POST /api/v1/identity/roles", Ids())
    rows = [
        {
            "org_unit": "",
            "email": f"{said[who]}@{tenant}.example",
            "display_name": said[f"name of {who}"],
            "role": role["name"],
        }
        for who in ("first", "second", "leaver")
    ]
    imported = builder.ask(admin, "identity POST /api/v1/identity/imports", Call(json={"rows": rows})).json()["people"]
    people |= builder.sign_in(tenant, said["first"], said["second"], user_agent=said["agent"])
    first, second = people[said["first"]], people[said["second"]]
    take(told, first, {first: imported[0]["person"]}, "exam-one")
    mended = take(told, first, {first: imported[0]["person"], second: imported[1]["person"]}, "exam-two")
    wish = mended | {"item_id": "q2", "new_key": [False], "reason": said["mended"]}
    builder.ask(first, API("POST", "remediations"), Call(json=wish))
    builder.ask(
        admin,
        PEOPLE("DELETE", "/{person_id}"),
        Call(path={"person_id": imported[2]["id"]}, json={"reason": said["deleted"]}),
    )
    for who, visitor in (("first", first), ("second", second)):
        own = builder.ask(visitor, API("GET", "my/certificates"), Call()).json()["certificates"]
        told.certificates[who] = [certificate["verification_url"] for certificate in own]
    wrong_mail = {"tenant": tenant, "email": f"{said['guess']}@{tenant}.example"}
    assert second.raw("identity", "POST", "/api/v1/auth/login", json=wrong_mail).status_code == 202
    assert second.raw("identity", "POST", PEOPLE("POST", "").split(" ")[2], json={"email": said["guess"]}).is_error
    wait_for_proofs(told)
    own = builder.ask(first, API("GET", "my/certificates"), Call()).json()["certificates"]
    revoke = Call(path={"certificate_id": own[0]["certificate_id"]}, json={"reason": said["revoked"]})
    builder.ask(first, API("POST", "certificates/{certificate_id}/revoke"), revoke)
    told.exports = export(builder, first)


def take(told: Story, author: Visitor, takers: Mapping[Visitor, str], slug: str) -> dict[str, Any]:
    """Publish an exam with a question that is answered in words; everybody takes it and is certified."""
    builder, document = told.builder, exam(slug)
    document["items"].append(
        {
            "id": "q3",
            "type": "short_text",
            "points": 1,
            "stem": "What is up?",
            "accept": ["the sky"],
            "normalise": ["trim"],
        }
    )
    published = builder.ask(author, API("POST", "evaluations"), Call(json=document)).json()
    version = {"evaluation_id": published["evaluation_id"], "version": published["version"]}
    assigned = builder.ask(author, API("POST", "assignments"), Call(json=version | {"people": list(takers.values())}))
    for taker, given in zip(takers, assigned.json()["assignments"], strict=True):
        started = builder.ask(
            taker, API("POST", "attempts"), Call(json={"assignment_id": given["assignment_id"]})
        ).json()
        for item, response in (("q1", "a"), ("q2", True), ("q3", told.said["answer"])):
            path = {"attempt_id": started["attempt_id"], "item_id": item}
            builder.ask(
                taker,
                API("PUT", "attempts/{attempt_id}/answers/{item_id}"),
                Call(path=path, json={"response": response}),
            )
        builder.ask(
            taker, API("POST", "attempts/{attempt_id}/submission"), Call(path={"attempt_id": started["attempt_id"]})
        )
    scores = builder.routes[API("GET", "scores")]
    eventually(lambda: len(author.send(scores, Call(query=version)).json()["scores"]) == len(takers) or None, "scoring")
    issued = builder.ask(author, API("POST", "certificates/issue"), Call(json=version)).json()
    assert issued["issued"] == len(takers)
    return version


def wait_for_proofs(told: Story) -> None:
    for url in (url for urls in told.certificates.values() for url in urls):

        def proved(url: str = url) -> bool:
            shown = httpx.get(url, headers={"Accept": "application/json"}, verify=told.builder.tls, timeout=30.0).json()
            return (shown["integrity"] or {}).get("proof") == "verified"

        eventually(proved, "the public proof")


def export(builder: Builder, auditor: Visitor) -> bytes:
    """Return the entries of every log of the tenant."""
    api, lines = "ledger {} /api/v1/ledger/{}".format, []
    for log in builder.ask(auditor, api("GET", "logs"), Call()).json()["logs"]:
        made = builder.ask(auditor, api("POST", "exports"), Call(json={"log_id": log["id"]})).json()
        path = {"log_id": log["id"], "size": made["size"], "name": "entries.ndjson"}
        lines.append(builder.ask(auditor, api("GET", "logs/{log_id}/export/{size}/{name}"), Call(path=path)).content)
    assert b"".join(lines).count(b"\n") > 30
    return b"".join(lines)


def spellings(said: Mapping[str, str]) -> dict[bytes, str]:
    """Give each canary as text, in hexadecimal, and in base64 at each of the three positions it can begin."""
    found: dict[bytes, str] = {}
    for kind, text in said.items():
        raw = text.encode()
        found[raw] = kind
        found[raw.hex().encode()] = kind
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + raw)
            found[coded[4 if shift else 0 : -4]] = kind
    return found


def seen_in(content: bytes, said: Mapping[str, str]) -> set[str]:
    return {kind for spelling, kind in spellings(said).items() if spelling in content}


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                yield path, path.read_bytes()
            except FileNotFoundError:
                continue  # a temporary file of a running server


def test_the_search_finds_what_is_there(story):
    """The mail that was sent names its reader: the search would see a canary if there was one."""
    mails = b"".join(content for _, content in files_below(story.builder.layout.mail))
    assert {"admin", "first", "second"} <= seen_in(mails, story.said)
    for kind, text in story.said.items():
        raw = text.encode()
        for content in (raw, b"x" + base64.b64encode(b"ab" + raw + b"cd"), raw.hex().encode()):
            assert kind in seen_in(content, story.said)


@pytest.mark.control("EV-25c")
def test_no_log_of_any_process_holds_personal_data(story):
    logs = list(files_below(story.builder.layout.logs))
    assert len(logs) >= 13
    assert not {path.name: found for path, content in logs if (found := seen_in(content, story.said))}


@pytest.mark.control("EV-25c")
def test_no_span_metric_or_exported_line_holds_personal_data_or_a_pseudonym(story, otlp_sink):
    sent = list(otlp_sink.texts())
    assert {name.partition("-")[0] for name, _ in sent} == {"traces", "metrics", "logs"}
    assert not {name: found for name, content in sent if (found := seen_in(content, story.said))}
    assert not [name for name, content in sent if re.search(rb"\bp_[A-Za-z0-9_-]{22}\b", content)]


@pytest.mark.control("EV-25c")
@pytest.mark.control("EV-02")
def test_the_brokers_files_hold_no_personal_data(story):
    files = list(files_below(story.builder.layout.nats))
    assert sum(len(content) for _, content in files) > 10_000
    assert not {str(path): found for path, content in files if (found := seen_in(content, story.said))}


@pytest.mark.control("EV-02")
@pytest.mark.parametrize("database", [DATABASE, KEYS_DATABASE])
def test_a_dump_of_the_database_holds_no_personal_data(story, database):
    servers = boot.describe(story.builder.layout, state.read(story.builder.layout))
    dump = subprocess.run(
        [servers.postgres.home.binaries / "pg_dump", "--inserts", servers.postgres.dsn(database)],
        check=True,
        capture_output=True,
        cwd="/",
        env=dict(os.environ),
    ).stdout
    assert len(dump) > 10_000
    assert not seen_in(dump, story.said)


@pytest.mark.control("EV-02")
def test_postgres_own_files_hold_no_personal_data(story):
    """Heap, indexes and write-ahead log: what was written once and overwritten is there too."""
    home = postgres_home.moved_to(story.builder.layout) or story.builder.layout.postgres
    found, size = {}, 0
    for path, content in files_below(home):
        size += len(content)
        plain = {kind for kind, text in story.said.items() if text.encode() in content}
        if plain:
            found[str(path)] = plain
    assert size > 10_000_000
    assert not found


@pytest.mark.control("EV-25c")
@pytest.mark.control("EV-02")
def test_the_exports_hold_no_personal_data(story):
    assert not seen_in(story.exports, story.said)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


SHARED_BY_ALL_OF_A_LOG = {
    ".event.source",
    ".event.actor",
    ".event.type",
    ".event.v",
    ".event.tenant",
    ".event.stream_version",
    ".event.data.credentialType",
    ".event.data.issuer",
    ".event.data.issuedAt",
    ".log",
    ".v",
}
"""What every public entry of an issuer, an evaluation and a day has in common, whoever holds it."""

SHARED_BY_A_BATCH = ".recorded"
"""When the ledger wrote a batch. Every public entry waits a random time of its own (assessment's `test_certificates`),
so which entries meet in a batch is chance; now and then they are one person's."""


@pytest.mark.control("EV-64")
def test_two_public_proofs_of_one_person_have_nothing_in_common_that_others_have_not(story):
    def bundle(url: str) -> tuple[dict[str, set[Any]], str]:
        entry, proof = (
            httpx.get(f"{url}/{part}", verify=story.builder.tls, timeout=30.0) for part in ("entry", "proof")
        )
        assert entry.is_success
        assert proof.is_success
        values: dict[str, set[Any]] = {}
        for path, value in leaves(msgspec.json.decode(entry.content)):
            if path != SHARED_BY_A_BATCH:
                values.setdefault(path, set()).add(value)
        return values, proof.text

    one, other = (bundle(url) for url in story.certificates["first"])
    somebody_else, _ = bundle(story.certificates["second"][0])
    shared = {path for path in one[0].keys() & other[0].keys() if one[0][path] & other[0][path]}
    assert shared <= SHARED_BY_ALL_OF_A_LOG
    assert {".event.data.reference", ".event.data.commitment", ".event.id"} <= one[0].keys() - shared
    # By value, wherever it stands: nothing that links the two stands anywhere in either.
    allowed = {value for path in SHARED_BY_ALL_OF_A_LOG for value in one[0].get(path, set())}
    every = [set().union(*values.values()) - allowed for values in (one[0], other[0])]
    assert not {value for value in every[0] & every[1] if value is not None and len(str(value)) > 3}
    assert shared <= {path for path in one[0] if one[0][path] & somebody_else.get(path, set())}
    for content in (*map(str, one), *map(str, other)):
        assert not seen_in(content.encode(), story.said)
