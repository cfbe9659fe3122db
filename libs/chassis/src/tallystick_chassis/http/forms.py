"""HTML forms: decoded as strictly as JSON is, into the type that the handler's ``data`` names.

A route takes a form, and no JSON, by ``opt={"form": True}``. Every value is a text; what stands for a number or a yes
is read as one, and a field left empty is absent. Litestar's own reader would keep bodies, passwords among them, in a
cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from tallystick_chassis.http.problems import FieldError, ValidationFailed, body_problem

if TYPE_CHECKING:
    from litestar import Request

TAKES_FORM: Final = "form"
"""Route option: the body is a form."""

FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 200


def takes_form(request: Request[Any, Any, Any]) -> bool:
    """Say whether the request brings a form to a route that takes one."""
    return bool(request.route_handler.opt.get(TAKES_FORM)) and request.content_type[0] == FORM


def only_value(body: bytes, name: str) -> str:
    """Return the field's value; empty where it is absent, stands twice, or the body is no form."""
    try:
        values = [value for field, value in _pairs(body) if field == name]
    except ValidationFailed:
        return ""
    return values[0] if len(values) == 1 else ""


def decode_form(body: bytes, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the form as a Struct of ``kind``; a field of a tuple's type may stand more than once.

    Raises:
        ValidationFailed: if it is no form, or not of that type.
    """
    tuples = {field.encode_name for field in msgspec.structs.fields(kind) if _is_tuple(field.type)}
    given: dict[str, str | list[str]] = {name: [] for name in tuples}
    for name, value in _pairs(body):
        if name in tuples:
            given[name] = [*given[name], value]
        elif name in given:
            raise ValidationFailed(errors=[FieldError(detail="A field stands twice", pointer="")])
        elif value:
            given[name] = value
    try:
        return msgspec.convert(given, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise body_problem(error) from None


def _is_tuple(kind: object) -> bool:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_origin(plain) is tuple


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS, separator="&"
        )
    except ValueError:  # UnicodeDecodeError is one
        raise ValidationFailed(errors=[FieldError(detail="Expected a form", pointer="")]) from None
    if any("\x00" in part for pair in pairs for part in pair):
        raise ValidationFailed(errors=[FieldError(detail="NUL characters are not accepted", pointer="")])
    return pairs
