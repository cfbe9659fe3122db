"""What the headers of every answer say, written a second time on purpose: nobody weakens them by accident."""

from __future__ import annotations

import re

import pytest
from tallystick_chassis.http.pages import SECURITY_HEADERS, page_policy

YEAR_S = 31_536_000


def _directives(policy):
    return dict(part.strip().partition(" ")[::2] for part in policy.split(";"))


@pytest.mark.control("X-08")
def test_the_headers_say_what_they_must():
    hsts = SECURITY_HEADERS["Strict-Transport-Security"]
    assert int(re.search(r"max-age=(\d+)", hsts)[1]) >= YEAR_S
    assert "includeSubDomains" in hsts
    assert _directives(SECURITY_HEADERS["Content-Security-Policy"]) == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert SECURITY_HEADERS["Referrer-Policy"] == "no-referrer"
    assert SECURITY_HEADERS["Cache-Control"] == "no-store"
    assert SECURITY_HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"
    assert SECURITY_HEADERS["Cross-Origin-Opener-Policy"] == "same-origin"


def test_a_page_runs_only_what_carries_its_nonce():
    directives = _directives(page_policy("abc"))
    assert directives["default-src"] == "'none'"  # which object-src falls back to
    assert directives["script-src"] == directives["style-src"] == "'nonce-abc'"
    assert directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert directives["form-action"] == directives["connect-src"] == "'self'"
    assert "unsafe" not in page_policy("abc")
