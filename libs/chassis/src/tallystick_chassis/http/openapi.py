"""The OpenAPI 3.1 document of a service, made from the routes that it serves and the guard that they stand behind.

Litestar reads paths, parameters and bodies off the handlers; what every route has in common (session, forgery token,
Idempotency-Key, problem documents) is added here. Litestar would serve the document on routes of its own, which nobody
could guard, so it is made by an application that serves nobody.
"""

from __future__ import annotations

import warnings
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Litestar
from litestar.exceptions.base_exceptions import LitestarDeprecationWarning
from litestar.openapi.config import OpenAPIConfig

from tallystick_chassis.budgets import ROUTE_BUDGETS
from tallystick_chassis.http.capability import CAPABILITY, STEP_UP, declared_routes
from tallystick_chassis.http.commands import IDEMPOTENCY_HEADER, REPLAYED_HEADER
from tallystick_chassis.http.csrf import CSRF_HEADER, SAFE_METHODS
from tallystick_chassis.http.forms import FORM, TAKES_FORM
from tallystick_chassis.http.pages import HTML, PAGE
from tallystick_chassis.http.problems import PROBLEM_MEDIA_TYPE, Problem, ProblemDocument, TooManyRequests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar.handlers import HTTPRouteHandler
    from litestar.types import ControllerRouterHandler

REFUSES: Final = "refuses"
"""Route option: the problems, beyond those of every route of its kind, that the route answers with."""

ALSO: Final = "also"
"""Route option: what the route answers with beyond its first answer, by status: the media types of text or bytes."""

_SCHEMA_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {"$ref": _SCHEMA_REF.format(name=ProblemDocument.__name__)}
_SECURITY: Final = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-tally_session",
        "description": "A signed-in person's session; unsafe requests also send the forgery token.",
    },
    "service": {
        "type": "http",
        "scheme": "bearer",
        "description": "A service's token from POST /oauth/token.",
    },
}
_IDEMPOTENCY: Final = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    "description": "The same key gives the same answer and one effect, however often it is sent within a week.",
}
_CSRF: Final = {
    "name": CSRF_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The value of the cookie __Host-tally_csrf; needed with a session, not with a bearer token.",
}


def openapi_document(
    service: str,
    version: str,
    routes: Sequence[ControllerRouterHandler],
    *,
    dependencies: Mapping[str, Any],
    signature_types: Sequence[Any],
) -> dict[str, Any]:
    """Return the document as JSON types; ``dependencies`` are what handlers take that no caller sends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # as in `app.py`
        app = Litestar(
            route_handlers=routes,
            dependencies=dict(dependencies),
            signature_types=signature_types,
            openapi_config=OpenAPIConfig(title=f"Tallystick {service}", version=version, use_handler_docstrings=True),
            logging_config=None,
        )
        document = _as_json(app.openapi_schema.to_schema())
    components = document.setdefault("components", {})
    for schema in components.get("schemas", {}).values():
        schema.get("required", []).sort()  # Litestar gives a set, in another order each time
    components["securitySchemes"] = _SECURITY
    _, schemas = msgspec.json.schema_components([ProblemDocument], ref_template=_SCHEMA_REF)
    components.setdefault("schemas", {}).update(_as_json(schemas))
    for name, handler in declared_routes(app):
        method, path = name.split(" ", 1)
        if path in document["paths"]:
            operation = document["paths"][path][method.lower()]
            limited = bool(ROUTE_BUDGETS.get(f"{service} {name}"))
            _complete(operation, method, path, handler, limited=limited)
    return document


def _as_json(value: object) -> dict[str, Any]:
    converted: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value, enc_hook=_number))
    return converted


def _number(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise NotImplementedError  # msgspec's word for a type that the hook does not know


def _complete(operation: dict[str, Any], method: str, path: str, handler: HTTPRouteHandler, *, limited: bool) -> None:
    capability = handler.opt.get(CAPABILITY)
    operation["summary"] = operation.pop("description", "").split("\n")[0]
    operation["security"] = [{"session": []}, {"service": []}] if capability else []
    if capability:
        operation["x-capability"] = str(capability)
    if handler.opt.get(STEP_UP):
        operation["x-recent-sign-in"] = True
    unsafe = method not in SAFE_METHODS
    takes_form = bool(handler.opt.get(TAKES_FORM))
    _complete_request(operation, is_command=bool(capability) and unsafe, takes_form=takes_form)
    for status, answer in operation["responses"].items():
        if status == str(HTTPStatus.NO_CONTENT.value):
            del answer["content"]  # Litestar says `null`
        if unsafe and capability and not takes_form:
            answer.setdefault("headers", {})[REPLAYED_HEADER] = {
                "schema": {"type": "string"},
                "description": "`true` where an earlier request with this key had the effect.",
            }
    if takes_form and capability and handler.opt.get(PAGE):
        _answer(operation, HTTPStatus.TEMPORARY_REDIRECT)  # to have the session's token renewed, and back
    also: Mapping[int, Sequence[str]] = handler.opt.get(ALSO, {})
    for status, media_types in also.items():
        contents = _answer(operation, status).setdefault("content", {})
        contents |= {one: {"schema": {} if one == "application/json" else {"type": "string"}} for one in media_types}
    statuses = _statuses(
        capability=bool(capability), unsafe=unsafe, has_path="{" in path, body="requestBody" in operation
    )
    refused: set[type[Problem]] = {*handler.opt.get(REFUSES, ()), *([TooManyRequests] if limited else [])}
    for status in sorted(statuses | {one.status for one in refused}):
        contents = _answer(operation, status).setdefault("content", {})
        contents[PROBLEM_MEDIA_TYPE] = {"schema": _PROBLEM}
        if handler.opt.get(PAGE):  # the same in words, to whoever prefers HTML
            contents[HTML] = {"schema": {"type": "string"}}


def _complete_request(operation: dict[str, Any], *, is_command: bool, takes_form: bool) -> None:
    if takes_form:
        # Litestar takes every body for JSON. The key and the forgery token are fields of the form.
        operation["requestBody"]["content"] = {FORM: operation["requestBody"]["content"].popitem()[1]}
    elif is_command:
        operation.setdefault("parameters", []).extend((_IDEMPOTENCY, _CSRF))


def _answer(operation: dict[str, Any], status: int) -> dict[str, Any]:
    answer: dict[str, Any] = operation["responses"].setdefault(str(status), {"description": HTTPStatus(status).phrase})
    return answer


def _statuses(*, capability: bool, unsafe: bool, has_path: bool, body: bool) -> set[int]:
    statuses = {400, 503}
    if capability:
        statuses |= {401, 403}
    if unsafe:
        statuses |= {403, 409, 422}
    if has_path:
        statuses.add(404)
    if body:
        statuses |= {413, 415}
    return statuses
