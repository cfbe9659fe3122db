"""What people do with identity's pages, as steps of tests: sign in, enrol, and have a look at a page."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
from axe_playwright_python.async_playwright import Axe
from identity_site import Site
from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

expect.set_options(timeout=20_000)  # others work on the machine that tests run on
SENDING_S = 8.0
# Chromium notes each answer of 400 and more, and what Clear-Site-Data cleared: some of these tests are about those.
NOTES = ("the server responded with", "Cleared data types")
NARROW = {"phone": {"width": 320, "height": 640}, "zoomed": {"width": 640, "height": 360}}
"""What a page must fit: a small phone, and a laptop's window at 200 % (WCAG 1.4.10, 1.4.4)."""


@asynccontextmanager
async def visitor(browser: Browser, site: Site, **context: object) -> AsyncIterator[Page]:
    """Open a browser of somebody's own; it fails if a page breaks its own security policy or a script fails."""
    opened: BrowserContext = await browser.new_context(base_url=site.base, **context)  # type: ignore[arg-type]
    page = await opened.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: None if any(one in said.text for one in NOTES) else complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await opened.close()
    assert complaints == []


async def look(page: Page, name: str) -> None:
    """Have axe look at the page, in light and in dark, and see whether it fits a phone and a zoomed window."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found = (await Axe().run(page)).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == [], f"{name}, {scheme}"
        await shoot(page, f"{name}-{scheme}")
    size = page.viewport_size
    assert size is not None
    for kind, narrow in NARROW.items():
        await page.set_viewport_size(narrow)  # type: ignore[arg-type] # the two keys of a ViewportSize
        assert await page.evaluate("document.documentElement.scrollWidth") <= narrow["width"], f"{name}, {kind}"
        await shoot(page, f"{name}-{kind}")
    await page.set_viewport_size(size)


async def shoot(page: Page, name: str) -> None:
    """Keep a picture for whoever wants to see the pages."""
    if shots := os.environ.get("TALLY_SCREENSHOTS"):
        await page.screenshot(path=Path(shots) / f"{name}.png", full_page=True)


def address(slug: str, name: str = "admin") -> str:
    return f"{name}@{slug}.example"


async def ask_for_mail(page: Page, slug: str, email: str) -> None:
    await page.goto(f"/sign-in/{slug}")
    await page.get_by_label("Mail address").fill(email)
    await page.get_by_role("button", name="Send me a link").click()
    await expect(page.get_by_role("status")).to_contain_text("a mail is on its way")


async def sign_in_by_link(page: Page, site: Site, slug: str, email: str = "") -> None:
    email = email or address(slug)
    await ask_for_mail(page, slug, email)
    await page.goto((await site.letter(email)).link)


async def code_of_the_moment(app: pyotp.TOTP) -> str:
    """Return the app's code, early enough in its step to be sent."""
    left_s = app.interval - time.time() % app.interval
    await asyncio.sleep(left_s if left_s < SENDING_S else 0)
    return app.now()


async def enrol_app(page: Page) -> pyotp.TOTP:
    await page.get_by_label("What you call it").first.fill("the phone")
    await page.get_by_role("button", name="Add an app").click()
    await expect(page.get_by_role("heading", level=1, name="Add an authenticator app")).to_be_visible()
    app = pyotp.TOTP(await page.locator("strong.mono").inner_text())
    await page.get_by_label("Code from the app").fill(await code_of_the_moment(app))
    await page.get_by_role("button", name="Put it to use").click()
    await expect(page.get_by_role("heading", level=1, name="Your account")).to_be_visible()
    return app


@asynccontextmanager
async def administrator(browser: Browser, site: Site, **context: object) -> AsyncIterator[tuple[Page, str]]:
    slug = await site.new_tenant()
    async with visitor(browser, site, **context) as page:
        await sign_in_by_link(page, site, slug)
        await enrol_app(page)
        yield page, slug
