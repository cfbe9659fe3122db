"""What every form of a signed-in person brings, and how pages send it on to the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from tallystick_chassis.http.forms import TAKES_FORM
from tallystick_chassis.http.in_process import ApiAnswer, ask
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.pages import PAGE
from tallystick_chassis.http.problems import NotFound, TooManyRequests
from tallystick_contracts.capabilities import Capability

if TYPE_CHECKING:
    from litestar import Request

OWN: Final[dict[str, Any]] = {"capability": Capability.SESSION_OWN, PAGE: True}
EARLY: Final[dict[str, Any]] = OWN | {"before_second_factor": True}
FORM: Final[dict[str, Any]] = {TAKES_FORM: True, REFUSES: (NotFound, TooManyRequests)}
"""What a form names may not be there, and what it asks of the API may have a budget."""

SessionRef = Annotated[str, msgspec.Meta(pattern=r"\As_[A-Za-z0-9_-]{1,64}\Z")]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``csrf_token`` repeats the cookie; ``idempotency_key`` was drawn when the form was shown.

    So a form that is sent twice, by two clicks or a reload, has one effect.
    """

    csrf_token: Annotated[str, msgspec.Meta(max_length=64)]
    idempotency_key: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._:-]{1,128}\Z")]


async def send(request: Request[Any, Any, Any], form: Form, method: str, path: str, body: object = None) -> ApiAnswer:
    """Send a form's command to the API.

    Raises:
        ApiRefusal: if it is refused.
    """
    return await ask(request, method, path, json=body, csrf=form.csrf_token, key=form.idempotency_key)
