"""The edge of the domain: refusals become problem documents here, once, and commands run here."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from litestar import Request, Response
from tallystick_chassis.http import commands
from tallystick_chassis.http.problems import FieldError, Problem, Unavailable
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import PersonErased as SealedPersonErased
from tallystick_chassis.sealing import SealingError
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.refusals import PersonErased, Refusal

T = TypeVar("T")


def _problem_class(refusal: type[Refusal]) -> type[Problem]:
    return type(
        refusal.__name__,
        (Problem,),
        {"__doc__": refusal.__doc__, "status": refusal.status, "code": refusal.code, "title": refusal.title},
    )


def as_problem(refusal: Refusal) -> Problem:
    """Return the problem document's error for a refusal, with the refusal's own code, status and pointers."""
    errors = [FieldError(detail=fault.detail, pointer=fault.pointer) for fault in refusal.faults]
    return _problem_class(type(refusal))(refusal.detail or None, errors=errors)


async def perform(
    request: Request[Any, Any, Any],
    scope: Scope,
    run: Callable[[Transaction], Awaitable[T]],
    *,
    status: int = 200,
) -> Response[T]:
    """Run a command as the chassis does, with refusals as problems."""

    async def translated(tx: Transaction) -> T:
        try:
            return await run(tx)
        except Refusal as refusal:
            raise as_problem(refusal) from refusal
        except (KeyDestroyed, SealedPersonErased) as error:
            raise as_problem(PersonErased()) from error
        except SealingError as error:
            # A key that the directory has not heard of yet; the event that brings it is on its way.
            raise Unavailable from error

    return await commands.perform(request, scope, translated, status=status)
