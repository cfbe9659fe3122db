"""What every refusal looks like, whichever service gives it: RFC 9457 with our members and no other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import httpx


class FieldError(msgspec.Struct, forbid_unknown_fields=True):
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDocument(msgspec.Struct, forbid_unknown_fields=True):
    """Written here a second time on purpose: it is what clients rely on."""

    type: str
    title: str
    status: int
    code: str
    correlation_id: str
    detail: str | None = None
    errors: list[FieldError] = []


_CODE = re.compile(r"[a-z][a-z0-9_]+")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_INSIDES = re.compile(
    rb"Traceback|File \"|\.py\b|sqlalchemy|asyncpg|psycopg|msgspec|litestar|select |insert into", re.IGNORECASE
)


def problem_in(response: httpx.Response) -> ProblemDocument:
    """Return the problem document of a refusal, checked member by member."""
    where = f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:300]}"
    assert response.status_code >= 400, where
    assert response.headers["content-type"] == "application/problem+json", where
    document = msgspec.json.decode(response.content, type=ProblemDocument)
    assert document.status == response.status_code, where
    assert _CODE.fullmatch(document.code), where
    assert document.type == f"https://tallystick.dev/problems/{document.code}", where
    assert document.title, where
    assert _CORRELATION.fullmatch(document.correlation_id), where
    assert response.headers["x-correlation-id"] == document.correlation_id, where
    assert not _INSIDES.search(response.content), where
    return document
