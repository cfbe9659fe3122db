"""Request bodies: JSON, or a page's form, decoded strictly into the handler's own type, in one step.

Litestar decodes to plain objects and converts them leniently (``"5"`` would pass as a number); here a wrong type is a
wrong type, and the place of the fault is known exactly.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Request

from tallystick_chassis.http.forms import TAKES_FORM, decode_form, takes_form
from tallystick_chassis.http.problems import FieldError, UnsupportedMediaType, ValidationFailed, body_problem

JSON = "application/json"
MAX_BODY_BYTES = 1_048_576
# An escaped NUL: the backslash before ``u0000`` is not itself escaped. Postgres stores no text with NUL.
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class StrictRequest(Request[Any, Any, Any]):
    """A request whose ``json()`` is an instance of the type that the handler's ``data`` names."""

    async def json(self) -> Any:  # noqa: ANN401 - as Litestar declares it
        """Return the decoded body.

        Raises:
            UnsupportedMediaType: if the body is not said to be JSON, or a form where the route takes one.
            MalformedJson, ValidationFailed: if it is not what it is said to be, or not of the handler's type.
        """
        body = await self.body()
        field = self.route_handler.parsed_data_field
        if self.route_handler.opt.get(TAKES_FORM):
            if field is None or not takes_form(self):
                raise UnsupportedMediaType
            return decode_form(body, field.annotation)
        if self.content_type[0] != JSON:
            raise UnsupportedMediaType
        if _ESCAPED_NUL.search(body):
            raise ValidationFailed(errors=[FieldError(detail="NUL characters are not accepted", pointer="")])
        try:
            return msgspec.json.decode(body, type=Any if field is None else field.annotation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise body_problem(error) from None
