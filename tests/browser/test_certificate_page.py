"""The public page as people meet it: by eye, keyboard and screen reader, light and dark, on a phone, script-free."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import expect
from tallystick_chassis.http.app import create_app
from tallystick_chassis.ids import TenantId
from tallystick_chassis.inbox import FeedKey, Inbox
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_contracts.generated.assessment import CredentialWithdrawn
from tallystick_contracts.topology import ServiceName
from tallystick_verification.app import SERVICE
from tallystick_verification.credentials import store
from tallystick_verification.credentials.domain import Evidence, ProofState, Publication, reference_of
from tallystick_verification.proofs import store as proofs
from tallystick_verification.settings import VerificationSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, Page
    from tallystick_chassis.service import Runtime
    from tallystick_cli.stack.temporary import RunningServers

NOW = datetime(2026, 11, 21, 12, 3, 6, tzinfo=UTC)
STATES = ("valid", "revoked", "unknown", "expired", "pending", "refused", "stale")
MIN_CONTRAST = 4.5
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Site:
    """The pages of certificates in each state, by its name."""

    base: str
    tokens: dict[str, str]

    def url(self, state: str) -> str:
        return f"{self.base}/certs/verify/{self.tokens[state]}"


async def _fill(runtime: Runtime) -> dict[str, str]:
    tokens = {state: secrets.token_urlsafe(24) for state in STATES}
    fresh, stale = TenantId(uuid4()), TenantId(uuid4())
    for state, token in tokens.items():
        if state == "unknown":
            continue
        tenant = stale if state == "stale" else fresh
        reference = reference_of(token)
        async with runtime.database.transaction(Scope.for_duty(tenant, SERVICE.name)) as tx:
            await store.add_publication(tx, _publication(reference, expired=state == "expired"))
            if state == "refused":
                await proofs.postpone(tx, reference, ProofState.REFUSED, timedelta(minutes=5))
            elif state != "pending":
                log = f"ledger.example.org/{tenant}/compliance"
                evidence = Evidence(line=b"{}", proof=b"c2sp.org/tlog-proof@v1\n", log=log, entry=1234, tree_size=1301)
                await proofs.keep(tx, reference, evidence, "vkey")
            if state == "revoked":
                data = CredentialWithdrawn(reference=reference, withdrawn_at="2026-11-20T09:00:00.000000Z")
                await store.add_withdrawal(tx, uuid4(), data)
    for tenant, age in ((fresh, timedelta(seconds=2)), (stale, timedelta(minutes=12))):
        inbox = Inbox(database=runtime.database, consumer=SERVICE.name, handlers={})
        key = FeedKey("assessment", "credential")
        async with runtime.database.transaction(Scope.for_duty(tenant, SERVICE.name)) as tx:
            await inbox._advance(tx, [_Seen(key)], {})
        await inbox.confirm(tenant, {key: 1}, NOW - age)
    return tokens


@dataclass(frozen=True)
class _Seen:
    key: FeedKey
    source_seq: int = 1


def _publication(reference: str, *, expired: bool) -> Publication:
    return Publication(
        event_id=uuid4(),
        reference=reference,
        commitment="0" * 64,
        credential_type="Working Safely at Height, Level 2",
        issuer="Acme Academy",
        issued_at=datetime(2025, 3, 4, 9, 30, tzinfo=UTC),
        expires_at=datetime(2026, 3, 4, tzinfo=UTC) if expired else datetime(2028, 3, 4, tzinfo=UTC),
    )


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(stack: RunningServers) -> AsyncIterator[Site]:
    """Verification on a free port, with a certificate in each state."""
    databases = stack.fresh_databases()
    await asyncio.to_thread(databases.migrate, ServiceName.VERIFICATION)
    settings = load_settings(VerificationSettings, databases.environment(ServiceName.VERIFICATION))
    runtime = make_runtime(SERVICE, settings, lambda: NOW)
    tokens = await _fill(runtime)
    app = create_app(SERVICE, runtime, SERVICE.wire(runtime))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
    with _listening() as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", tokens)
        server.should_exit = True
        await task
    await runtime.close()


async def _open(browser: Browser, url: str, **context: object) -> Page:
    """Open the page in a context of its own; it fails if the page breaks its own security policy."""
    page = await (await browser.new_context(**context)).new_page()  # type: ignore[arg-type]
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    if shots := os.environ.get("TALLY_SCREENSHOTS"):
        parts = [await page.locator("h1").inner_text(), page.url[-6:], *(str(part)[:9] for part in context.values())]
        name = "-".join(parts).replace(" ", "_")
        await page.screenshot(path=Path(shots) / f"{name}.png", full_page=True)
    assert complaints == []
    return page


HEADINGS = {
    "valid": "Valid",
    "revoked": "Revoked",
    "unknown": "Cannot be confirmed",
    "expired": "Cannot be confirmed",
    "pending": "Valid",
    "refused": "Cannot be confirmed",
    "stale": "Valid",
}

_CONTRAST = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll('h1, h2, p, dt, dd, li, a, summary, strong, code')];
  return Math.min(...texts.map(node => {
    const [a, b] = [luminance(channels(getComputedStyle(node).color)), luminance(ground(node))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}"""


@pytest.mark.control("EV-64")
async def test_every_state_is_said_in_words_to_eyes_and_to_screen_readers(browser: Browser, site: Site) -> None:
    for state in STATES:
        page = await _open(browser, site.url(state), java_script_enabled=False)
        await expect(page.get_by_role("heading", level=1, name=HEADINGS[state], exact=True)).to_be_visible()
        await expect(page.get_by_role("status")).to_contain_text(HEADINGS[state])
        await expect(page.get_by_role("main")).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == "en"
        assert HEADINGS[state] in await page.title()
        await page.context.close()


async def test_words_are_readable_in_light_and_dark(browser: Browser, site: Site) -> None:
    for state in STATES:
        grounds = set()
        for scheme in ("light", "dark"):
            page = await _open(browser, site.url(state), color_scheme=scheme)
            assert await page.evaluate(_CONTRAST) >= MIN_CONTRAST, (state, scheme)
            grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            await page.context.close()
        assert len(grounds) == 2


async def test_the_page_fits_a_phone_and_a_zoomed_screen(browser: Browser, site: Site) -> None:
    for state in ("valid", "unknown", "stale"):
        page = await _open(browser, site.url(state), viewport={"width": 320, "height": 640})
        if state == "valid":
            await page.get_by_text("How to check it yourself").click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320
        await page.context.close()


async def test_everything_can_be_reached_and_used_with_the_keyboard(browser: Browser, site: Site) -> None:
    page = await _open(browser, site.url("valid"), java_script_enabled=True)
    reached = []
    for _ in range(3):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.textContent.trim()"))
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["Download the proof", "Download the entry", "How to check it yourself"]
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("tally audit proof certificate.proof certificate.entry.json")).to_be_visible()
    await page.context.close()


@pytest.mark.control("DI-02")
async def test_proof_and_entry_can_be_downloaded_under_their_names(browser: Browser, site: Site) -> None:
    page = await _open(browser, site.url("valid"))
    for link, name in (
        ("Download the proof", "certificate.proof"),
        ("Download the entry", "certificate.entry.json"),
    ):
        async with page.expect_download() as started:
            await page.get_by_role("link", name=link).click()
        assert (await started.value).suggested_filename == name
    await page.context.close()


@pytest.mark.control("X-14")
async def test_the_page_says_how_fresh_it_is_and_plainly_when_it_is_not(browser: Browser, site: Site) -> None:
    page = await _open(browser, site.url("valid"))
    await expect(page.get_by_text("As of 12:03:04 UTC, 2 s ago.")).to_be_visible()
    await page.goto(site.url("stale"))
    await expect(page.get_by_text("This answer is not up to date.")).to_be_visible()
    await expect(page.get_by_text("11:51:06 UTC, 12 minutes ago")).to_be_visible()
    await page.context.close()


@pytest.mark.control("X-08")
async def test_the_page_loads_nothing_else_and_tells_no_other_site_where_you_were(browser: Browser, site: Site) -> None:
    page = await (await browser.new_context()).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(site.url("valid"))
    assert [url for url in asked if not url.endswith("/favicon.ico")] == [site.url("valid")]
    assert await page.context.cookies() == []
    await page.context.close()
