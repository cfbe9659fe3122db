"""For every route that needs a session: what a proper request looks like, and which ids stand in it.

A new route needs a line here before the sweep passes. Which ids of a request are set to somebody else's follows from
the request (``sweep.positions``); ``shows`` names the id that whoever owns it finds in the answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tallystick_contracts.capabilities import GRANTABLE_CAPABILITIES

from sweep.visitor import Call


def _id() -> str:
    return str(uuid4())


@dataclass(frozen=True)
class Ids:
    """The ids of one place's things. What is not given is of the right form and belongs to nobody."""

    tenant: str = field(default_factory=_id)
    unit: str = field(default_factory=_id)
    person_id: str = field(default_factory=_id)
    person: str = field(default_factory=lambda: "p_" + secrets.token_urlsafe(16))
    role: str = field(default_factory=_id)
    factor: str = field(default_factory=_id)
    grant: str = field(default_factory=_id)
    evaluation: str = field(default_factory=_id)
    version: int = 1
    question: str = field(default_factory=_id)
    assignment: str = field(default_factory=_id)
    spare: str = field(default_factory=_id)
    attempt: str = field(default_factory=_id)
    submission: str = field(default_factory=_id)
    remediation: str = field(default_factory=_id)
    certificate: str = field(default_factory=_id)
    log: str = field(default_factory=_id)
    destination: str = field(default_factory=_id)
    seq: int = 0
    size: int = 1
    correlation: str = field(default_factory=lambda: uuid4().hex)
    job: str = field(default_factory=_id)
    event: str = field(default_factory=_id)
    session: str = field(default_factory=lambda: "s_" + secrets.token_urlsafe(16))
    spare_session: str = field(default_factory=lambda: "s_" + secrets.token_urlsafe(16))
    key: str = field(default_factory=_id)
    slug: str = "no-such-exam"
    path: str = "nowhere"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to ask one route."""

    build: Callable[[Ids], Call]
    shows: str = ""


def _new_mail() -> str:
    return f"new-{secrets.token_hex(6)}@sweep.example"


def _provider(ids: Ids) -> dict[str, Any]:
    """A provider that nobody reaches, and whose claims give what the caller's own role gives."""
    return {
        "issuer": "https://provider.invalid",
        "client_id": "tallystick",
        "client_secret": secrets.token_urlsafe(16),
        "enabled": True,
        "makes_administrators": True,
        "role_claim": "groups",
        "roles": [{"value": "all", "role_id": ids.role, "org_unit_id": ids.unit}],
    }


def _credential(*fields: str) -> dict[str, Any]:
    """A passkey's answer that has the right form and is worth nothing."""
    response = dict.fromkeys(("clientDataJSON", *fields), "AAAA")
    return {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": response}


def exam(slug: str) -> dict[str, Any]:
    """Return an evaluation of two items that whoever answers ``a`` and ``true`` passes."""
    return {
        "slug": slug,
        "title": "Which way is up",
        "language": "en",
        "pass_mark_percent": 50,
        "time_limit_minutes": 60,
        "items": [
            {
                "id": "q1",
                "type": "single_choice",
                "points": 2,
                "stem": "Which way is up?",
                "options": {"a": "That way", "b": "The other"},
                "key": ["a"],
            },
            {"id": "q2", "type": "true_false", "points": 1, "stem": "Up is up.", "key": [True]},
        ],
    }


def _of(main: str, /, **more: Callable[[Ids], object]) -> Callable[[Ids], Call]:
    """A request with one id in its path (parameter name before ``=``), the rest by ``more``."""
    parameter, attribute = main.split("=")
    return lambda ids: Call(
        path={parameter: getattr(ids, attribute)} | {key: value(ids) for key, value in more.items() if key != "json"},
        **({"json": more["json"](ids)} if "json" in more else {}),
    )


def _plain(_: Ids) -> Call:
    return Call()


_A, _I, _L, _P = "/api/v1/assessment", "/api/v1/identity", "/api/v1/ledger", "/api/v1/compliance"


def _version(ids: Ids) -> dict[str, object]:
    return {"evaluation_id": ids.evaluation, "version": ids.version}


def _feed(aggregate: str) -> tuple[Recipe, ...]:
    return (Recipe(lambda ids: Call(path={"tenant": ids.tenant, "aggregate": aggregate})),)


def _state(kind: str, shows: str = "") -> tuple[Recipe, ...]:
    return (Recipe(lambda _: Call(query={"kind": kind}), shows=shows),)


ASSESSMENT: dict[str, tuple[Recipe, ...]] = {
    f"GET {_A}/assignments": (Recipe(_plain, shows="assignment"),),
    f"POST {_A}/assignments": (Recipe(lambda ids: Call(json=_version(ids) | {"people": [ids.person]})),),
    f"POST {_A}/assignments/{{assignment_id}}/revoke": (Recipe(_of("assignment_id=spare")),),
    f"POST {_A}/attempts": (Recipe(lambda ids: Call(json={"assignment_id": ids.assignment})),),
    f"GET {_A}/attempts/{{attempt_id}}": (Recipe(_of("attempt_id=attempt"), shows="attempt"),),
    f"PUT {_A}/attempts/{{attempt_id}}/answers/{{item_id}}": (
        Recipe(
            lambda ids: Call(path={"attempt_id": ids.attempt, "item_id": "q1"}, json={"response": "a"}),
        ),
    ),
    f"POST {_A}/attempts/{{attempt_id}}/submission": (Recipe(_of("attempt_id=attempt")),),
    f"GET {_A}/certificates": (
        Recipe(_plain, shows="certificate"),
        Recipe(lambda ids: Call(query={"evaluation_id": ids.evaluation})),
    ),
    f"POST {_A}/certificates/issue": (Recipe(lambda ids: Call(json=_version(ids))),),
    f"POST {_A}/certificates/{{certificate_id}}/revoke": (
        Recipe(_of("certificate_id=certificate", json=lambda _: {"reason": "mistake"})),
    ),
    f"GET {_A}/evaluations": (Recipe(_plain, shows="evaluation"),),
    f"POST {_A}/evaluations": (Recipe(lambda ids: Call(json=exam(ids.slug))),),
    f"GET {_A}/evaluations/{{evaluation_id}}": (Recipe(_of("evaluation_id=evaluation")),),
    f"GET {_A}/evaluations/{{evaluation_id}}/versions/{{version}}": (
        Recipe(_of("evaluation_id=evaluation", version=lambda ids: ids.version)),
    ),
    f"POST {_A}/evaluations/{{evaluation_id}}/versions/{{version}}/releases": (
        Recipe(
            _of(
                "evaluation_id=evaluation",
                version=lambda ids: ids.version,
                json=lambda ids: {"unit_ids": [ids.unit]},
            ),
        ),
    ),
    f"GET {_A}/feed/{{tenant}}/{{aggregate}}": _feed("submission"),
    f"GET {_A}/state": _state("submission", "submission"),
    f"GET {_A}/my/assignments": (Recipe(_plain, shows="assignment"),),
    f"GET {_A}/my/certificates": (Recipe(_plain, shows="certificate"),),
    f"GET {_A}/my/results": (Recipe(_plain, shows="submission"),),
    f"GET {_A}/questions/{{question_id}}/versions/{{version}}": (
        Recipe(_of("question_id=question", version=lambda _: 1)),
    ),
    f"GET {_A}/remediations": (Recipe(lambda ids: Call(query=_version(ids)), shows="remediation"),),
    f"POST {_A}/remediations": (
        Recipe(
            lambda ids: Call(
                json=_version(ids) | {"item_id": "q2", "new_key": [False], "reason": "Up was meant to be down."}
            ),
        ),
    ),
    f"GET {_A}/remediations/{{remediation_id}}": (Recipe(_of("remediation_id=remediation"), shows="remediation"),),
    f"POST {_A}/remediations/{{remediation_id}}/apply": (Recipe(_of("remediation_id=remediation")),),
    f"POST {_A}/remediations/{{remediation_id}}/revert": (Recipe(_of("remediation_id=remediation")),),
    f"GET {_A}/scores": (
        Recipe(_plain, shows="submission"),
        Recipe(lambda ids: Call(query=_version(ids))),
    ),
    f"GET {_A}/submissions": (
        Recipe(_plain, shows="submission"),
        Recipe(lambda ids: Call(query=_version(ids))),
    ),
    f"GET {_A}/submissions/{{submission_id}}": (Recipe(_of("submission_id=submission"), shows="submission"),),
    f"GET {_A}/submissions/{{submission_id}}/scores": (Recipe(_of("submission_id=submission"), shows="submission"),),
}


def _form(path: str = "", /, **fields: object) -> Callable[[Ids], Call]:
    """Build a form's request; ``path`` is ``parameter=id``, and a field that begins with ``=`` is the id so called."""

    def build(ids: Ids) -> Call:
        name, _, one = path.partition("=")
        filled = {
            field: getattr(ids, value[1:]) if isinstance(value, str) and value.startswith("=") else value
            for field, value in fields.items()
        }
        return Call(path={name: getattr(ids, one)} if path else {}, form=filled)

    return build


_PERSON_FORM = "person_id=person_id"
PAGES: dict[str, tuple[Recipe, ...]] = {
    "GET /account": (Recipe(_plain, shows="session"),),
    "POST /account/sessions": (
        Recipe(_form(do="name", session_ref="=session", name="the laptop")),
        Recipe(_form(do="end", session_ref="=spare_session")),
    ),
    "POST /account/factors": (Recipe(_form(kind="totp", label="phone")),),
    "GET /account/factors/{factor_id}/app": (Recipe(_of("factor_id=factor")),),
    "POST /account/factors/{factor_id}/app": (Recipe(_form("factor_id=factor", code="000000")),),
    "GET /account/factors/{factor_id}/passkey": (Recipe(_of("factor_id=factor")),),
    "POST /account/factors/{factor_id}/remove": (Recipe(_form("factor_id=factor")),),
    "POST /account/password": (Recipe(_form(new_password="a parrot on a unicycle")),),
    "GET /account/second-factor": (Recipe(_plain),),
    "POST /account/second-factor": (Recipe(_form(method="recovery", code="aaaa-bbbb-cccc-dddd")),),
    "POST /account/sign-out": (Recipe(_form()),),
    "GET /admin": (Recipe(_plain),),
    "GET /admin/people": (Recipe(_plain, shows="person_id"),),
    "POST /admin/people/find": (Recipe(_form(who="=person")),),
    "POST /admin/people": (
        Recipe(
            lambda ids: Call(form={"email": _new_mail(), "display_name": "New One", "org_unit_id": ids.unit}),
        ),
    ),
    "GET /admin/people/{person_id}": (Recipe(_of("person_id=person_id"), shows="person_id"),),
    "POST /admin/people/{person_id}": (
        Recipe(_form(_PERSON_FORM, do="unlock", reason="it was me")),
        Recipe(_form(_PERSON_FORM, do="end_session", session_ref="=spare_session")),
    ),
    "POST /admin/grants": (
        Recipe(_form(do="give", person_id="=person_id", role_id="=role", org_unit_id="=unit")),
        Recipe(_form(do="take", grant_id="=grant")),
    ),
    "GET /admin/roles": (Recipe(_plain, shows="role"),),
    "POST /admin/roles": (
        Recipe(lambda _: Call(form={"do": "define", "name": f"r{secrets.token_hex(6)}", "capabilities": "score.read"})),
        Recipe(_form(do="change", role_id="=role", capabilities=[one.value for one in GRANTABLE_CAPABILITIES])),
    ),
}

IDENTITY: dict[str, tuple[Recipe, ...]] = {
    **PAGES,
    "POST /api/v1/auth/logout": (Recipe(_plain),),
    "GET /api/v1/auth/second-factor": (Recipe(_plain),),
    "POST /api/v1/auth/second-factor": (
        Recipe(lambda _: Call(json={"method": "recovery", "code": "aaaa-bbbb-cccc-dddd"})),
    ),
    "POST /api/v1/auth/factors": (Recipe(lambda _: Call(json={"kind": "totp", "label": "phone"})),),
    "GET /api/v1/auth/factors/{factor_id}": (Recipe(_of("factor_id=factor")),),
    "POST /api/v1/auth/factors/{factor_id}/confirm": (
        Recipe(_of("factor_id=factor", json=lambda _: {"code": "000000"})),
    ),
    "GET /api/v1/auth/password": (Recipe(_plain),),
    "PUT /api/v1/auth/password": (Recipe(lambda _: Call(json={"new_password": "a parrot on a unicycle"})),),
    f"GET {_I}/sign-in-policy": (Recipe(_plain),),
    f"PUT {_I}/sign-in-policy": (Recipe(lambda _: Call(json={"passwords": True})),),
    "DELETE /api/v1/auth/factors/{factor_id}": (Recipe(_of("factor_id=factor")),),
    "GET /api/v1/auth/passkeys/{factor_id}": (Recipe(_of("factor_id=factor")),),
    "POST /api/v1/auth/passkeys/{factor_id}/confirm": (
        Recipe(_of("factor_id=factor", json=lambda _: _credential("attestationObject"))),
    ),
    "POST /api/v1/auth/second-factor/passkey/options": (Recipe(_plain),),
    "POST /api/v1/auth/second-factor/passkey": (
        Recipe(lambda _: Call(json=_credential("authenticatorData", "signature"))),
    ),
    f"GET {_I}/feed/{{tenant}}/{{aggregate}}": _feed("user"),
    f"GET {_I}/state": _state("person", "person"),
    f"GET {_I}/grants": (Recipe(lambda ids: Call(query={"person_id": ids.person_id}), shows="grant"),),
    f"POST {_I}/grants": (
        Recipe(
            lambda ids: Call(json={"person_id": ids.person_id, "role_id": ids.role, "org_unit_id": ids.unit}),
        ),
    ),
    f"DELETE {_I}/grants/{{grant_id}}": (Recipe(_of("grant_id=grant")),),
    f"POST {_I}/imports": (
        Recipe(
            lambda ids: Call(json={"rows": [{"org_unit": ids.path, "email": _new_mail(), "display_name": "New One"}]})
        ),
    ),
    f"POST {_I}/introspect": (Recipe(lambda _: Call(json={"token": "nothing"})),),
    f"GET {_I}/me": (Recipe(_plain, shows="person"),),
    f"GET {_I}/me/sessions": (Recipe(_plain, shows="session"),),
    f"PUT {_I}/me/sessions/{{session_ref}}": (
        Recipe(_of("session_ref=session", json=lambda _: {"name": "the laptop"})),
    ),
    f"DELETE {_I}/me/sessions/{{session_ref}}": (Recipe(_of("session_ref=spare_session")),),
    f"POST {_I}/me/sessions/end-others": (Recipe(_plain),),
    f"GET {_I}/org-units": (Recipe(_plain, shows="unit"),),
    f"POST {_I}/org-units": (
        Recipe(
            lambda ids: Call(json={"parent_id": ids.unit, "slug": f"s{secrets.token_hex(4)}", "name": "Below"}),
        ),
    ),
    f"GET {_I}/people": (Recipe(_plain, shows="person_id"),),
    f"POST {_I}/people": (
        Recipe(
            lambda ids: Call(json={"email": _new_mail(), "display_name": "New One", "org_unit_id": ids.unit}),
        ),
    ),
    f"POST {_I}/people/find": (Recipe(lambda ids: Call(json={"person": ids.person}), shows="person_id"),),
    f"DELETE {_I}/people/{{person_id}}": (
        Recipe(_of("person_id=person_id", json=lambda _: {"reason": "asked for it"})),
    ),
    f"GET {_I}/people/{{person_id}}": (Recipe(_of("person_id=person_id"), shows="person_id"),),
    f"POST {_I}/people/{{person_id}}/factors/reset": (
        Recipe(_of("person_id=person_id", json=lambda _: {"reason": "lost the phone"})),
    ),
    f"PUT {_I}/people/{{person_id}}/email": (
        Recipe(_of("person_id=person_id", json=lambda _: {"email": _new_mail(), "reason": "they married"})),
    ),
    f"POST {_I}/people/{{person_id}}/unlock": (
        Recipe(_of("person_id=person_id", json=lambda _: {"reason": "it was me"})),
    ),
    f"GET {_I}/people/{{person_id}}/capabilities": (Recipe(_of("person_id=person_id"), shows="role"),),
    f"POST {_I}/people/{{person_id}}/disable": (Recipe(_of("person_id=person_id")),),
    f"POST {_I}/people/{{person_id}}/enable": (Recipe(_of("person_id=person_id")),),
    f"GET {_I}/people/{{person_id}}/sessions": (Recipe(_of("person_id=person_id"), shows="session"),),
    f"DELETE {_I}/people/{{person_id}}/sessions/{{session_ref}}": (
        Recipe(
            lambda ids: Call(path={"person_id": ids.person_id, "session_ref": ids.spare_session}),
        ),
    ),
    f"GET {_I}/sso": (Recipe(_plain),),
    f"PUT {_I}/sso": (Recipe(lambda ids: Call(json=_provider(ids))),),
    f"POST {_I}/sso/disable": (Recipe(_plain),),
    f"POST {_I}/sso/test": (Recipe(_plain),),
    f"DELETE {_I}/people/{{person_id}}/sso": (Recipe(_of("person_id=person_id")),),
    f"GET {_I}/service-keys": (Recipe(_plain, shows="key"),),
    f"POST {_I}/service-keys": (
        Recipe(
            lambda ids: Call(
                json={
                    "name": "a machine",
                    "capabilities": ["people.read"],
                    "org_unit_id": ids.unit,
                    "expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
                }
            ),
        ),
    ),
    f"DELETE {_I}/service-keys/{{key_id}}": (Recipe(_of("key_id=key")),),
    f"POST {_I}/people/{{person_id}}/sessions/end": (Recipe(_of("person_id=person_id")),),
    f"GET {_I}/roles": (Recipe(_plain, shows="role"),),
    f"POST {_I}/roles": (
        Recipe(
            lambda _: Call(json={"name": f"r{secrets.token_hex(4)}", "capabilities": sorted(GRANTABLE_CAPABILITIES)})
        ),
    ),
    f"PUT {_I}/roles/{{role_id}}": (
        Recipe(_of("role_id=role", json=lambda _: {"capabilities": sorted(GRANTABLE_CAPABILITIES)})),
    ),
}

LEDGER: dict[str, tuple[Recipe, ...]] = {
    f"GET {_L}/entries": (
        Recipe(lambda ids: Call(query={"correlation": ids.correlation}), shows="log"),
        Recipe(lambda ids: Call(query={"org_unit": ids.unit}), shows="log"),
        Recipe(lambda ids: Call(query={"subject": ids.person}), shows="log"),
    ),
    f"POST {_L}/exports": (Recipe(lambda ids: Call(json={"log_id": ids.log})),),
    f"GET {_L}/feed/{{tenant}}/{{aggregate}}": _feed("export"),
    f"POST {_L}/hand-over": (Recipe(lambda _: Call(json={"events": [{"source_seq": 1, "body": "{}"}]})),),
    f"GET {_L}/state": _state("event"),
    f"GET {_L}/logs": (Recipe(_plain, shows="log"),),
    f"GET {_L}/logs/{{log_id}}/checkpoint": (Recipe(_of("log_id=log")),),
    f"GET {_L}/logs/{{log_id}}/entries": (Recipe(_of("log_id=log"), shows="log"),),
    f"GET {_L}/logs/{{log_id}}/entries/{{seq}}": (Recipe(_of("log_id=log", seq=lambda ids: ids.seq)),),
    f"GET {_L}/logs/{{log_id}}/export": (Recipe(_of("log_id=log"), shows="log"),),
    f"GET {_L}/logs/{{log_id}}/export/{{size}}/{{name}}": tuple(
        Recipe(_of("log_id=log", size=lambda ids: ids.size, name=lambda _, name=name: name))
        for name in ("checkpoint", "entries.ndjson", "ledger.vkey")
    ),
    f"GET {_L}/logs/{{log_id}}/vkey": (Recipe(_of("log_id=log")),),
    f"GET {_L}/logs/{{log_id}}/tile/{{name}}": tuple(
        Recipe(_of("log_id=log", name=lambda ids, level=level: f"{level}/000.p/{ids.size}"))
        for level in ("0", "entries")
    ),
    f"GET {_L}/logs/{{log_id}}/publication": (Recipe(_of("log_id=log"), shows="log"),),
    f"PUT {_L}/logs/{{log_id}}/publication": (Recipe(_of("log_id=log", json=lambda _: {"open": True})),),
    f"GET {_L}/logs/{{log_id}}/proofs/consistency": (
        Recipe(lambda ids: Call(path={"log_id": ids.log}, query={"from": 1, "to": ids.size})),
    ),
    f"GET {_L}/logs/{{log_id}}/proofs/inclusion": (
        Recipe(lambda ids: Call(path={"log_id": ids.log}, query={"seq": 0})),
    ),
    f"GET {_L}/siem-destinations": (Recipe(_plain, shows="destination"),),
    f"POST {_L}/siem-destinations": (
        Recipe(lambda _: Call(json={"name": f"s{secrets.token_hex(4)}", "address": "https://siem.invalid/in"})),
    ),
    f"PUT {_L}/siem-destinations/{{destination_id}}": (
        Recipe(_of("destination_id=destination", json=lambda _: {"paused": False})),
    ),
    f"DELETE {_L}/siem-destinations/{{destination_id}}": (Recipe(_of("destination_id=destination")),),
    f"POST {_L}/siem-destinations/{{destination_id}}/replay": (
        Recipe(_of("destination_id=destination", json=lambda ids: {"log_id": ids.log, "seq": 0})),
    ),
    f"POST {_L}/siem-destinations/{{destination_id}}/test": (Recipe(_of("destination_id=destination")),),
    f"GET {_L}/siem-destinations/{{destination_id}}/dead-letters": (Recipe(_of("destination_id=destination")),),
    f"GET {_L}/public-entries/{{tenant}}/{{event_id}}": (
        Recipe(lambda ids: Call(path={"tenant": ids.tenant, "event_id": ids.event})),
    ),
}

PRIVACY: dict[str, tuple[Recipe, ...]] = {
    f"GET {_P}/erasures": (Recipe(_plain, shows="job"),),
    f"GET {_P}/erasures/{{job_id}}": (Recipe(_of("job_id=job"), shows="job"),),
    "GET /api/v1/privacy/feed/{tenant}/{aggregate}": _feed("key"),
    "GET /api/v1/privacy/state": _state("erasure_job", "job"),
}

VERIFICATION: dict[str, tuple[Recipe, ...]] = {
    "GET /api/v1/verification/feed/{tenant}/{aggregate}": _feed("receipt"),
    "GET /api/v1/verification/state": _state("credential"),
}

RECIPES: dict[str, tuple[Recipe, ...]] = {
    f"{service} {route}": recipes
    for service, table in (
        ("assessment", ASSESSMENT),
        ("identity", IDENTITY),
        ("ledger", LEDGER),
        ("privacy", PRIVACY),
        ("verification", VERIFICATION),
    )
    for route, recipes in table.items()
}
"""Recipes of every route that needs a session, by the route's name."""
