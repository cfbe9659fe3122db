"""What all pages share: what they show of whoever is signed in, and how they say no."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from litestar import Response
from tallystick_chassis.http.capability import holds
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.csrf import CSRF_COOKIE
from tallystick_chassis.http.in_process import ApiRefusal, PageResponse
from tallystick_chassis.http.pages import PAGE, Pages, prefers_html
from tallystick_chassis.http.problems import (
    CsrfFailed,
    NotAuthenticated,
    Problem,
    SecondFactorRequired,
    StepUpRequired,
    problem_of,
    problem_response,
)
from tallystick_chassis.ids import new_secret
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import SessionOver
from tallystick_identity.pages.local import (
    ACCOUNT,
    AFTER_SIGN_IN,
    RENEWED,
    local_page,
    next_cookie,
    page_of,
    sign_in_of,
)
from tallystick_identity.sessions.cookies import REFRESH_PATH

if TYPE_CHECKING:
    from litestar import Request
    from tallystick_chassis.http.in_process import ApiAnswer

_KEY_BYTES: Final = 16
_MINUTE_S: Final = 60
_API: Final = "/api/"
# What no form can mend by being filled in again: the page for refusals says how to go on.
_NOT_THE_FORMS: Final = frozenset(
    {StepUpRequired.code, SecondFactorRequired.code, NotAuthenticated.code, SessionOver.code}
)
_SERVER_ERROR: Final = 500

_PAGES = Pages("tallystick_identity", has_forms=True)


def show(
    request: Request[Any, Any, Any],
    template: str,
    *,
    refusal: Problem | None = None,
    status: int = 200,
    **values: object,
) -> Response[str]:
    """Return a page; with a ``refusal``, its status and what it says, for the form that it is about.

    Templates also get ``csrf``, ``new_key`` (each form its own), ``may`` (by a capability's name), ``moment``, ``here``
    (the path) and ``is_signed_in``.
    """
    context = context_of(request.scope)
    page = _PAGES.render(
        template,
        status=status if refusal is None else refusal.status,
        csrf=request.cookies.get(CSRF_COOKIE, ""),
        new_key=lambda: new_secret(_KEY_BYTES),
        may=lambda name: holds(context, Capability(name)),
        moment=_moment,
        here=request.url.path,
        is_signed_in=context.introspection is not None,
        is_limited=context.introspection is not None and context.introspection.limited,
        refusal=refusal,
        wait=None if refusal is None else _wait(refusal),
        **values,
    )
    if refusal is not None:
        page.headers.update(refusal.headers)
    return page


def require_of_the_form(request: Request[Any, Any, Any], refusal: ApiRefusal) -> None:
    """Raise what the API refused unless a browser's form can be shown again with it.

    Raises:
        ApiRefusal: for whoever does not want a page, and for what filling in a form again does not mend.
    """
    if refusal.code in _NOT_THE_FORMS or refusal.status >= _SERVER_ERROR or not prefers_html(request):
        raise refusal


def go_to(path: str, *answers: ApiAnswer) -> Response[str]:
    """Send the browser to a page of ours, with the cookies that the API gave."""
    return PageResponse(Response("", status_code=303, headers={"Location": path}), answers)


def hand_on(path: str) -> Response[Any]:
    """Have the browser send the form that it just sent to another address of ours, as it is."""
    # Under the strict policy of all answers the form would arrive without its origin, and be refused for that.
    return Response("", status_code=307, headers={"Location": path, "Referrer-Policy": "same-origin"})


def refuse(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return the answer for an error of any of identity's routes: in words for a page's visitor, else as a document."""
    if not prefers_html(request) or not _is_for_people(request):
        return problem_response(request, error)
    problem = problem_of(error)
    if _is_unknown(request):
        return show(request, "unknown.html", refusal=problem)
    if problem.code == SecondFactorRequired.code:
        return go_to(AFTER_SIGN_IN)
    if problem.code == NotAuthenticated.code and _is_late(request):
        return hand_on(f"{REFRESH_PATH}?to={request.url.path}")
    is_outdated = problem.code == CsrfFailed.code
    # What the account's forms begin is over once they are taken: their own pages would have nothing to show.
    back = ACCOUNT if is_outdated and request.url.path.startswith(ACCOUNT) else page_of(request)
    page = show(
        request,
        "refused.html",
        refusal=problem,
        sign_in=sign_in_of(request),
        # With the session's own cookie gone its token has run out, and the refresh cookie may still be good.
        may_go_on=problem.code == NotAuthenticated.code and CSRF_COOKIE in request.cookies,
        again=problem.code in {StepUpRequired.code, NotAuthenticated.code, SessionOver.code},
        is_outdated=is_outdated,
        back=back,
    )
    if problem.code in {StepUpRequired.code, NotAuthenticated.code}:
        page.cookies.append(next_cookie(back))
    return page


def _is_late(request: Request[Any, Any, Any]) -> bool:
    """Say whether it is a form of a session whose token has run out, and was not renewed on its way already."""
    path = request.url.path
    is_ours = request.method == "POST" and local_page(path) == path
    return is_ours and CSRF_COOKIE in request.cookies and RENEWED not in request.query_params


def _is_for_people(request: Request[Any, Any, Any]) -> bool:
    """Say whether the address is a page, or none of anything: what lies under the API answers programs."""
    if _is_unknown(request):
        return not request.url.path.startswith(_API)
    return bool(request.route_handler.opt.get(PAGE))


def _is_unknown(request: Request[Any, Any, Any]) -> bool:
    return "route_handler" not in request.scope  # where routing found none


def _wait(refusal: Problem) -> str | None:
    after = refusal.headers.get("Retry-After", "")
    if not after.isdigit():
        return None
    minutes = -(-int(after) // _MINUTE_S)
    if minutes <= 1:
        return "a minute"
    return f"{minutes} minutes"


def _moment(time: datetime) -> str:
    return f"{time.day} {time:%B %Y, %H:%M} UTC"
