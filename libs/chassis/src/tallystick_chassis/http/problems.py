"""Problem details (RFC 9457): the one shape of every error that leaves a service.

Services' errors subclass ``Problem`` in their ``errors.py`` and fix code, status and title there. A problem never
carries what the caller sent: it may be personal, and it is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException

from tallystick_chassis.database import is_away
from tallystick_chassis.http.correlation import context_of

PROBLEM_BASE = "https://tallystick.dev/problems/"
PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with one part of the input: ``pointer`` into the body (RFC 6901), or the name of a parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document as it is sent."""

    type: str
    title: str
    status: int
    code: str
    correlation_id: str
    detail: str | None = None
    errors: tuple[FieldError, ...] = ()


class Problem(Exception):
    """An error with a stable code. A subclass sets these once; ``detail`` is a fixed sentence, never input."""

    status: int = 500
    code: str = "internal_error"
    title: str = "The request failed"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(self.code)


class BadRequest(Problem):
    """The request cannot be understood."""

    status, code, title = 400, "bad_request", "The request cannot be understood"


class MalformedJson(Problem):
    """The body is not JSON."""

    status, code, title = 400, "malformed_json", "The body is not valid JSON"


class ValidationFailed(Problem):
    """The body or a parameter does not fit its schema; ``errors`` points to the place."""

    status, code, title = 400, "validation_failed", "The input does not fit what this route accepts"


class NotAuthenticated(Problem):
    """There is no valid session or service token."""

    status, code, title = 401, "not_authenticated", "Sign in to go on"


class StepUpRequired(Problem):
    """The route wants a sign-in of the last minutes."""

    status, code, title = 401, "step_up_required", "Sign in again to go on"


class CsrfFailed(Problem):
    """An unsafe request did not prove that it came from our own pages."""

    status, code, title = 403, "csrf_failed", "The request did not come from this site's own pages"


class CapabilityMissing(Problem):
    """The person has no grant with the route's capability."""

    status, code, title = 403, "capability_missing", "You may not do this"


class NotFound(Problem):
    """There is nothing there for this person: one shape for what does not exist and for what is another's."""

    status, code, title = 404, "not_found", "There is nothing here"


class MethodNotAllowed(Problem):
    """The path exists, with other methods."""

    status, code, title = 405, "method_not_allowed", "This path does not take that method"


class Conflict(Problem):
    """The state does not allow it, or another change came first."""

    status, code, title = 409, "conflict", "The current state does not allow this"


class ConcurrentChange(Conflict):
    """Another transaction changed the same thing first."""

    code, title = "concurrent_change", "Someone else changed this at the same moment; try again"


class TooLarge(Problem):
    """The body exceeds the limit."""

    status, code, title = 413, "too_large", "The body is too large"


class UnsupportedMediaType(Problem):
    """The body is in another form than the route reads."""

    status, code, title = 415, "unsupported_media_type", "This route reads application/json"


class TooManyRequests(Problem):
    """A budget is spent; ``Retry-After`` says in how many seconds it comes back."""

    status, code, title = 429, "rate_limited", "Too many requests; try again later"


class SecondFactorRequired(Problem):
    """The session has shown one factor, and its person needs two: only signing in further is open to it."""

    status, code, title = 403, "second_factor_required", "Show your second factor, or enrol one, to go on"


class InternalError(Problem):
    """An unforeseen failure; the log has the rest under the correlation id."""

    status, code, title = 500, "internal_error", "Something failed on our side"


class Unavailable(Problem):
    """Something that the request needs is down; trying again later makes sense."""

    status, code, title = 503, "unavailable", "The service cannot answer right now"


_BY_STATUS: Mapping[int, type[Problem]] = {
    one.status: one
    for one in (
        BadRequest,
        NotAuthenticated,
        NotFound,
        MethodNotAllowed,
        Conflict,
        TooLarge,
        UnsupportedMediaType,
        Unavailable,
    )
}
# msgspec's sentences that name the schema only. Others may quote the input (enum values, unknown keys, tags).
_SCHEMA_SENTENCE = re.compile(
    r"Expected [^\"\n]{1,300}|Object missing required field `\w+`"
    r"|Invalid (?:UUID|RFC3339 encoded \w+|base64 encoded \w+|decimal string)"
)
_PATH = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_TRY_AGAIN = {"Retry-After": "2"}
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]|\[\.\.\.\]")


def problem_of(error: Exception) -> Problem:
    """Return the problem that ``error`` is to the caller.

    An unforeseen one becomes ``InternalError``, or ``Unavailable`` when the database is away.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationException):
        return _parameter_problem(error)
    if isinstance(error, MethodNotAllowedException):
        allow = (error.headers or {}).get("allow", "")
        return MethodNotAllowed(headers={"Allow": allow} if allow else {})
    if isinstance(error, HTTPException):
        if error.status_code in _BY_STATUS:
            return _BY_STATUS[error.status_code]()
        if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return BadRequest()
    return Unavailable(headers=_TRY_AGAIN) if is_away(error) else InternalError()


def problem_response(request: Request, error: Exception) -> Response[bytes]:  # type: ignore[type-arg] # any request
    """Return the answer for ``error``: Litestar's exception handler for everything."""
    problem = problem_of(error)
    return Response(
        content=document_of(problem, context_of(request.scope).correlation),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=problem.headers,
    )


def document_of(problem: Problem, correlation: str) -> bytes:
    """Return the problem's JSON."""
    return msgspec.json.encode(
        ProblemDocument(
            type=PROBLEM_BASE + problem.code,
            title=problem.title,
            status=problem.status,
            code=problem.code,
            correlation_id=correlation,
            detail=problem.detail,
            errors=problem.errors,
        )
    )


def body_problem(error: Exception) -> Problem:
    """Return the problem for a body that msgspec refused, with a JSON pointer and without any of the input."""
    if not isinstance(error, msgspec.ValidationError):
        return MalformedJson()
    sentence = str(error)
    pointer = ""
    if found := _PATH.search(sentence):
        pointer = _pointer(found["path"])
        sentence = sentence[: found.start()]
    return ValidationFailed(errors=[FieldError(detail=_safe(sentence), pointer=pointer)])


def _parameter_problem(error: ValidationException) -> Problem:
    messages = error.extra if isinstance(error.extra, list) else []
    found = []
    for message in messages:
        name = str(message.get("key", ""))
        if name == "data" or message.get("source") == "body":
            found.append(FieldError(detail="A body is required", pointer=""))
        else:
            sentence = _PATH.sub("", str(message.get("message", "")))
            found.append(FieldError(detail=_safe(sentence), parameter=name if name.isidentifier() else None))
    return ValidationFailed(errors=found or [FieldError(detail="A required parameter is missing or invalid")])


def _safe(sentence: str) -> str:
    if _SCHEMA_SENTENCE.fullmatch(sentence):
        return sentence
    if sentence.startswith("Object contains unknown field"):
        return "Object contains an unknown field"
    return "Invalid value"


def _pointer(path: str) -> str:
    """Return the RFC 6901 pointer of msgspec's path; a step into a mapping ends it, since its key is input."""
    steps = []
    for step in _STEP.finditer(path):
        if step["name"] is None and step["index"] is None:
            break
        steps.append(step["name"] or step["index"])
    return "".join(f"/{step}" for step in steps)
