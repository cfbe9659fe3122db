"""Nobody reaches what is another's (other person, unit, tenant), and what is published cannot be changed."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tallystick_assessment.tables import IMMUTABLE, METADATA
from tallystick_chassis.self_test import findings


def shape(answer: httpx.Response) -> tuple[int, bytes, str]:
    """Everything a caller can tell answers apart by, but for the correlation id."""
    correlation = answer.headers["x-correlation-id"]
    return answer.status_code, answer.content.replace(correlation.encode(), b""), answer.headers["content-type"]


@pytest.mark.control("EV-22c")
@pytest.mark.control("DI-01")
async def test_anothers_attempt_looks_like_one_that_does_not_exist(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    (owner,) = exam.candidates
    assignment = exam.assignments[owner.ref]
    attempt = (await owner.post("/attempts", {"assignment_id": assignment})).json()["attempt_id"]
    others = [
        await world.person("candidate", unit="north"),
        await world.person("candidate", unit="south"),
        await world.person("candidate", tenant=world.borealis, unit="north"),
    ]
    for other in others:
        for existing, missing in (
            (await other.get(f"/attempts/{attempt}"), await other.get(f"/attempts/{uuid4()}")),
            (
                await other.put(f"/attempts/{attempt}/answers/q1", {"response": "a"}),
                await other.put(f"/attempts/{uuid4()}/answers/q1", {"response": "a"}),
            ),
            (
                await other.post(f"/attempts/{attempt}/submission"),
                await other.post(f"/attempts/{uuid4()}/submission"),
            ),
            (
                await other.post("/attempts", {"assignment_id": assignment}),
                await other.post("/attempts", {"assignment_id": str(uuid4())}),
            ),
        ):
            assert shape(existing) == shape(missing)
            assert existing.status_code == 404
        assert (await other.get("/my/assignments")).json() == {"assignments": []}
    assert (await owner.get(f"/attempts/{attempt}")).status_code == 200


@pytest.mark.control("EV-22c")
async def test_staff_of_another_unit_or_tenant_find_nothing(
    world: Any, make_exam: Callable[..., Any], right: dict[str, Any]
) -> None:
    exam = await make_exam("north")
    submission = await exam.sit(exam.candidates[0], right)
    await world.work()
    grader = await world.person("grader")
    issued = await grader.post("/certificates/issue", {"evaluation_id": exam.evaluation_id, "version": 1})
    certificate = issued.json()["certificate_ids"][0]
    proposed = await exam.author.post(
        "/remediations",
        {"evaluation_id": exam.evaluation_id, "version": 1, "item_id": "q1", "new_key": ["b"], "reason": "wrong"},
    )
    remediation = proposed.json()["remediation_id"]
    roles = ("author", "grader")
    south = await world.person(*roles, units=[world.aurora.units["south"]])
    foreign = await world.person(*roles, tenant=world.borealis)
    for stranger in (south, foreign):
        for path in (
            "/submissions/{}",
            "/submissions/{}/scores",
        ):
            assert shape(await stranger.get(path.format(submission))) == shape(await stranger.get(path.format(uuid4())))
        for path in ("/evaluations/{}", "/evaluations/{}/versions/1"):
            assert shape(await stranger.get(path.format(exam.evaluation_id))) == shape(
                await stranger.get(path.format(uuid4()))
            )
        assert shape(await stranger.get(f"/remediations/{remediation}")) == shape(
            await stranger.get(f"/remediations/{uuid4()}")
        )
        for verb in ("apply", "revert"):
            assert shape(await stranger.post(f"/remediations/{remediation}/{verb}")) == shape(
                await stranger.post(f"/remediations/{uuid4()}/{verb}")
            )
        revoked = await stranger.post(f"/certificates/{certificate}/revoke", {"reason": "x"})
        assert shape(revoked) == shape(await stranger.post(f"/certificates/{uuid4()}/revoke", {"reason": "x"}))
        issue = {"evaluation_id": exam.evaluation_id, "version": 1}
        assert shape(await stranger.post("/certificates/issue", issue)) == shape(
            await stranger.post("/certificates/issue", issue | {"evaluation_id": str(uuid4())})
        )
        assert shape(await stranger.post(f"/assignments/{exam.assignments[exam.candidates[0].ref]}/revoke")) == shape(
            await stranger.post(f"/assignments/{uuid4()}/revoke")
        )
        for path, field in (
            ("/submissions", "submissions"),
            ("/scores", "scores"),
            ("/certificates", "certificates"),
            ("/assignments", "assignments"),
            ("/evaluations", "evaluations"),
        ):
            assert (await stranger.get(path)).json()[field] == []


async def test_a_miss_is_noted_for_the_worker_to_look_up(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    (owner,) = exam.candidates
    attempt = (await owner.post("/attempts", {"assignment_id": exam.assignments[owner.ref]})).json()["attempt_id"]
    stranger = await world.person("candidate", tenant=world.borealis, unit="north")
    await stranger.get(f"/attempts/{attempt}")
    async with world.runtime.duty.duty() as connection:
        (miss,) = (
            await connection.execute(
                text("select id, tenant_id from assessment.misses where tenant_id = :asking"),
                {"asking": world.borealis.id},
            )
        ).all()
    assert (str(miss.id), miss.tenant_id) == (attempt, world.borealis.id)


async def test_content_belongs_to_the_root_unit_and_needs_it(world: Any, document: dict[str, Any]) -> None:
    author = await world.person("author", units=[world.aurora.units["north"]])
    answer = await author.post("/evaluations", document)
    assert (answer.status_code, answer.json()["code"]) == (403, "units_not_covered")


async def test_a_proctor_assigns_only_what_the_unit_holds(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    proctor = await world.person("proctor", units=[world.aurora.units["north"], world.aurora.units["south"]])
    north = await world.person("candidate", unit="north")
    south = await world.person("candidate", unit="south")
    body = {"evaluation_id": exam.evaluation_id, "version": 1}
    assert (await proctor.post("/assignments", body | {"people": [north.ref]})).status_code == 201
    assert (await proctor.post("/assignments", body | {"people": [south.ref]})).status_code == 404


@pytest.mark.control("EV-22a")
async def test_a_candidate_has_no_author_route(world: Any, document: dict[str, Any]) -> None:
    candidate = await world.person("candidate", unit="north")
    answer = await candidate.post("/evaluations", document)
    assert (answer.status_code, answer.json()["code"]) == (403, "capability_missing")


@pytest.mark.control("EV-11c")
async def test_the_self_test_finds_nothing_wrong(world: Any) -> None:
    assert await findings(world.runtime.database) == []


@pytest.mark.control("EV-11d")
@pytest.mark.parametrize("table", sorted(METADATA.tables))
def test_every_key_begins_with_the_tenant(table: str) -> None:
    found = METADATA.tables[table]
    keys = [list(found.primary_key.columns)] + [
        list(constraint.columns) for constraint in found.constraints if type(constraint).__name__ == "UniqueConstraint"
    ]
    assert all(columns[0].name == "tenant_id" for columns in keys)


@pytest.mark.control("EV-14a")
@pytest.mark.parametrize("table", IMMUTABLE)
async def test_published_rows_cannot_be_changed_by_privilege_nor_past_it(
    world: Any, superuser: asyncpg.Connection, table: str
) -> None:
    update, delete = f"update assessment.{table} set tenant_id = tenant_id", f"delete from assessment.{table}"  # noqa: S608 - our names
    for statement in (update, delete):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with world.runtime.database.transaction(world.duty(world.aurora)) as tx:
                await tx.execute(text(statement))
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await superuser.execute(statement)
    with pytest.raises(asyncpg.PostgresError):
        await superuser.execute(f"truncate assessment.{table} cascade")


@pytest.mark.control("EV-22d")
async def test_without_a_scope_nothing_is_seen(world: Any, make_exam: Callable[..., Any]) -> None:
    await make_exam("north")
    async with world.runtime.database.unscoped() as connection:
        for table in METADATA.tables:
            count = text(f"select count(*) from assessment.{table}")  # noqa: S608 - our names
            assert (await connection.execute(count)).scalar_one() == 0


async def test_content_and_answers_lie_encrypted(
    make_exam: Callable[..., Any], right: dict[str, Any], superuser: asyncpg.Connection
) -> None:
    exam = await make_exam("north")
    await exam.sit(exam.candidates[0], right | {"q8": "A sentence of my own."})
    # stems, keys, an answer, an accepted answer: in no table of assessment, whatever its column.
    for table in [*METADATA.tables, "events", "idempotency"]:
        for row in await superuser.fetch(f"select t.*::text as line from assessment.{table} t"):  # noqa: S608 - our names
            stored = row["line"] + "".join(
                bytes.fromhex(part).decode("latin-1")
                for part in row["line"].replace("\\\\x", "\\x").split("\\x")[1:]
                for part in [_hex(part)]
            )
            for taboo in ("Which?", "Strict-Transport-Security", "A sentence of my own."):
                assert taboo not in stored, table


def _hex(part: str) -> str:
    digits = ""
    for character in part:
        if character not in "0123456789abcdef":
            break
        digits += character
    return digits
