"""The public routes: is this certificate valid, and what proves it? Nobody signs in; nothing about who asks is kept.

A token that is unknown, malformed or cut off gets the same answer after the same work as any other.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.params import FromPath
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML, prefers_html
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.service import Runtime

from tallystick_verification.credentials import store
from tallystick_verification.credentials.domain import Answer, Certificate, Evidence, answer_for, reference_of
from tallystick_verification.credentials.page import render

JSON = "application/json"


async def _look_up(runtime: Runtime, token: str) -> Certificate | None:
    async with runtime.database.unscoped() as connection:
        return await store.find(connection, reference_of(token))


async def _evidence(runtime: Runtime, token: str) -> Evidence:
    certificate = await _look_up(runtime, token)
    if certificate is None or certificate.evidence is None:
        raise NotFound
    return certificate.evidence


def _download(content: bytes, media_type: str, name: str) -> Response[Any]:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@get("/certs/verify/{token:str}", opt={"public": True, ALSO: {HTTPStatus.OK: (HTML,)}})
async def verify_certificate(
    request: Request[Any, Any, Any], token: FromPath[str], runtime: Runtime
) -> Response[Answer]:
    """Tell whether the certificate is valid: JSON, or a page to whoever prefers HTML."""
    certificate = await _look_up(runtime, token)
    now = runtime.clock()
    if prefers_html(request):
        page: Response[Any] = render(certificate, token, now)
        page.headers["Vary"] = "Accept"
        return page
    return Response(answer_for(certificate, now), headers={"Vary": "Accept"})


@get("/certs/verify/{token:str}/proof", opt={"public": True}, media_type=MediaType.TEXT)
async def download_proof(token: FromPath[str], runtime: Runtime) -> Response[str]:
    """Give the proof file of the certificate's public entry (c2sp.org/tlog-proof@v1)."""
    evidence = await _evidence(runtime, token)
    return _download(evidence.proof, "text/plain", "certificate.proof")


@get("/certs/verify/{token:str}/entry", opt={"public": True})
async def download_entry(token: FromPath[str], runtime: Runtime) -> Response[dict[str, Any]]:
    """Give the public entry itself: the line whose hash the proof is about, without a line feed."""
    evidence = await _evidence(runtime, token)
    return _download(evidence.line, JSON, "certificate.entry.json")
