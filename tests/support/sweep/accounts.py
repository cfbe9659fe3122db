"""What people of the swept tenants do with identity: every command about accounts, and every form of its pages."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from software_authenticator import SoftwareAuthenticator
from tallystick_cli.cluster.person import Authenticator

from sweep.recipes import RECIPES, Ids
from sweep.visitor import Call, Visitor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sweep.house import Builder


def use_accounts(builder: Builder, visitors: dict[str, Visitor], people: Mapping[str, Ids]) -> None:
    """Send each command about people, roles, keys, factors and sessions once, and fill in each form."""
    owner, api = visitors["owner"], "identity {} /api/v1/identity/{}".format
    builder.do(owner, api("POST", "org-units"), people["owner"])
    builder.do(owner, api("POST", "people"), people["owner"])
    builder.do(owner, api("POST", "people/find"), people["victim-a"])
    passing = builder.do(owner, api("POST", "grants"), people["victim-a"])
    builder.do(owner, api("DELETE", "grants/{grant_id}"), Ids(grant=passing["id"]))
    builder.do(owner, api("POST", "people/{person_id}/sessions/end"), people["victim-a"])
    builder.do(owner, api("POST", "people/{person_id}/unlock"), people["victim-a"])
    builder.do(owner, api("POST", "people/{person_id}/factors/reset"), people["victim-a"])
    builder.do(owner, api("PUT", "sign-in-policy"), Ids())
    _second_factor(builder, visitors["colleague"])
    builder.do(visitors["colleague"], "identity PUT /api/v1/auth/password", Ids())
    for method, path in (("PUT", "sso"), ("POST", "sso/test"), ("POST", "sso/disable")):
        builder.do(owner, api(method, path), people["owner"])
    builder.do(owner, api("DELETE", "people/{person_id}/sso"), people["victim-a"])
    builder.do(owner, api("PUT", "people/{person_id}/email"), people["victim-a"])
    builder.do(owner, api("POST", "people/{person_id}/disable"), people["victim-a"])
    builder.do(owner, api("POST", "people/{person_id}/enable"), people["victim-a"])
    spare = builder.do(owner, api("POST", "service-keys"), people["owner"])
    builder.do(owner, api("DELETE", "service-keys/{key_id}"), Ids(key=spare["id"]))
    _sessions(builder, visitors, people["leaver"])
    _administrators_pages(builder, owner, people["owner"], people["victim-a"])
    _own_pages(builder, visitors["colleague"])


def _administrators_pages(builder: Builder, owner: Visitor, ids: Ids, victim: Ids) -> None:
    """Fill in each form of administration once."""
    for name, about in (
        ("GET /admin", ids),
        ("POST /admin/people", ids),
        ("POST /admin/people/find", victim),
        ("POST /admin/people/{person_id}", victim),
        ("POST /admin/grants", victim),
        ("POST /admin/roles", ids),
    ):
        builder.ask(owner, f"identity {name}", RECIPES[f"identity {name}"][0].build(about))


def _own_pages(builder: Builder, candidate: Visitor) -> None:
    """Fill in each form about oneself once: enrol, show, remove a factor, change the password, leave."""
    page = "identity {} /account/{}".format
    started = builder.ask(candidate, page("POST", "factors"), Call(form={"kind": "totp", "label": "phone"}))
    path = {"factor_id": started.headers["location"].split("/")[-2]}
    shown = builder.ask(candidate, page("GET", "factors/{factor_id}/app"), Call(path=path)).text
    seed, recovery = re.findall(
        r"<strong class=\"mono\">(\w+)</strong>|<li>([a-z2-7]{4}(?:-[a-z2-7]{4}){5})</li>", shown
    )[:2]
    phone = Authenticator()
    phone.enrol(seed[0], [])
    confirmed = Call(path=path, form={"code": asyncio.run(phone.code())})
    builder.ask(candidate, page("POST", "factors/{factor_id}/app"), confirmed)
    half = builder.sign_in_half(builder.north, candidate.name)
    try:
        builder.ask(half, page("GET", "second-factor"), Call())
        shows = {"method": "recovery", "code": recovery[1]}
        builder.ask(half, page("POST", "second-factor"), Call(form=shows))
        builder.ask(half, page("POST", "sign-out"), Call(form={}))
    finally:
        half.close()
    builder.ask(candidate, page("POST", "factors/{factor_id}/remove"), Call(path=path, form={}))
    made = builder.ask(candidate, page("POST", "factors"), Call(form={"kind": "passkey", "label": "phone"}))
    path = {"factor_id": made.headers["location"].split("/")[-2]}
    builder.ask(candidate, page("GET", "factors/{factor_id}/passkey"), Call(path=path))
    passwords = {"current_password": "a parrot on a unicycle", "new_password": "a heron in a rowing boat"}
    builder.ask(candidate, page("POST", "password"), Call(form=passwords))
    builder.ask(candidate, page("POST", "sessions"), Call(form={"do": "end_others"}))


def _second_factor(builder: Builder, candidate: Visitor) -> None:
    """Enrol a second factor, and remove it again: a candidate may."""
    api = "identity {} /api/v1/auth/factors{}".format
    ids = Ids(factor=builder.do(candidate, api("POST", ""), Ids())["id"])
    shown = builder.do(candidate, api("GET", "/{factor_id}"), ids)
    phone = Authenticator()
    phone.enrol(shown["seed"], shown["recovery_codes"])
    confirmed = Call(path={"factor_id": ids.factor}, json={"code": asyncio.run(phone.code())})
    builder.ask(candidate, api("POST", "/{factor_id}/confirm"), confirmed)
    builder.do(candidate, api("DELETE", "/{factor_id}"), ids)
    _passkey(builder, candidate)


def _passkey(builder: Builder, candidate: Visitor) -> None:
    """Enrol a passkey, show it after a link, and remove it again."""
    api = "identity {} /api/v1/auth/{}".format
    device = SoftwareAuthenticator(builder.urls["identity"])
    started = builder.ask(candidate, api("POST", "factors"), Call(json={"kind": "passkey", "label": "phone"}))
    ids = Ids(factor=started.json()["id"])
    made = device.create(builder.do(candidate, api("GET", "passkeys/{factor_id}"), ids))
    builder.ask(candidate, api("POST", "passkeys/{factor_id}/confirm"), Call(path={"factor_id": ids.factor}, json=made))
    half = builder.sign_in_half(builder.north, candidate.name)
    try:
        options = builder.do(half, api("POST", "second-factor/passkey/options"), Ids())
        builder.ask(half, api("POST", "second-factor/passkey"), Call(json=device.get(options)))
    finally:
        half.close()
    builder.do(candidate, api("DELETE", "factors/{factor_id}"), ids)


def _sessions(builder: Builder, visitors: dict[str, Visitor], leaver: Ids) -> None:
    """The leaver signs in on three devices and leaves by three ways."""
    api = "identity {} /api/v1/identity/{}".format
    first = visitors["leaver"]
    (second,), (third,) = (builder.sign_in(builder.north, "leaver").values() for _ in range(2))
    try:
        refs = {
            session["id"]
            for session in builder.ask(first, api("GET", "me/sessions"), Call()).json()["sessions"]
            if not session["current"]
        }
        named, ended = refs
        builder.do(first, api("PUT", "me/sessions/{session_ref}"), Ids(session=named))
        builder.do(first, api("DELETE", "me/sessions/{session_ref}"), Ids(spare_session=named))
        builder.do(
            visitors["owner"],
            api("DELETE", "people/{person_id}/sessions/{session_ref}"),
            replace(leaver, spare_session=ended),
        )
        builder.do(first, api("POST", "me/sessions/end-others"), Ids())
        builder.do(first, "identity POST /api/v1/auth/logout", Ids())
    finally:
        second.close()
        third.close()
