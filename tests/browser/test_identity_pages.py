"""Signing in, the account and administration as people meet them: by script and without, by keyboard, by passkey."""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from browser_launch import chromium_arguments
from identity_site import Site, running_site
from playwright.async_api import async_playwright, expect
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, Page
    from tallystick_cli.stack.temporary import RunningServers

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=20_000)  # others work on the machine that tests run on
SENDING_S = 8.0
# Chromium notes each answer of 400 and more, and what Clear-Site-Data cleared: some of these tests are about those.
NOTES = ("the server responded with", "Cleared data types")
PHONE = {"width": 320, "height": 640}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(stack: RunningServers) -> AsyncIterator[Site]:
    databases = stack.fresh_databases()
    await asyncio.to_thread(databases.migrate, ServiceName.IDENTITY)
    async with running_site(databases) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(site: Site, chromium_path: str) -> AsyncIterator[Browser]:
    """Chromium that takes the site's certificate for good: on one with a fault it makes no passkeys."""
    arguments = [*chromium_arguments(), f"--ignore-certificate-errors-spki-list={site.key_pin}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield browser
        await browser.close()


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
    """Have axe look at the page, in light and in dark, and see whether it fits a phone."""
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found = (await Axe().run(page)).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == [], f"{name}, {scheme}"
        if shots := os.environ.get("TALLY_SCREENSHOTS"):
            await page.screenshot(path=Path(shots) / f"{name}-{scheme}.png", full_page=True)
    size = page.viewport_size
    assert size is not None
    await page.set_viewport_size(PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
    await page.set_viewport_size(size)


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


@pytest.mark.control("X-01")
async def test_staff_sign_in_by_the_link_of_a_mail_and_enrol_an_app(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        await page.goto(f"/sign-in/{slug}")
        await look(page, "sign-in")
        await ask_for_mail(page, slug, address(slug))
        await look(page, "code")
        letter = await site.letter(address(slug))
        await page.goto(letter.link)
        await expect(page.get_by_role("heading", level=1, name="Add a second factor")).to_be_visible()
        assert letter.link.partition("#")[2] not in await page.evaluate("document.documentElement.outerHTML")
        await look(page, "enrol")
        await page.get_by_role("button", name="Add an app").click()
        await expect(page.get_by_role("img", name="QR code")).to_be_visible()
        await look(page, "enrol-app")
        codes = await page.locator(".codes li").all_inner_texts()
        async with page.expect_download() as started:
            await page.get_by_role("link", name="Save them as a file").click()
        saved = await started.value
        assert saved.suggested_filename == "tallystick-recovery-codes.txt"
        text = await asyncio.to_thread(Path(await saved.path()).read_text, encoding="utf-8")
        assert text.split() == codes
        await page.get_by_label("Code from the app").fill("000000")
        await page.get_by_role("button", name="Put it to use").click()
        await expect(page.get_by_role("alert").first).to_contain_text("This code cannot be used")
        await expect(page.get_by_label("Code from the app")).to_have_attribute("aria-invalid", "true")
        await look(page, "enrol-app-refused")
        app = pyotp.TOTP(await page.locator("strong.mono").inner_text())
        await page.get_by_label("Code from the app").fill(await code_of_the_moment(app))
        await page.get_by_role("button", name="Put it to use").click()
        await expect(page.get_by_text("Signed in as Ada Admin.")).to_be_visible()
        await look(page, "account")
        assert await page.evaluate("location.hash + location.search") == ""


async def test_without_a_script_a_code_signs_in_and_forms_do_everything_else(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site, java_script_enabled=False) as page:
        await ask_for_mail(page, slug, address(slug))
        await page.get_by_label("Code from the mail").fill((await site.letter(address(slug))).code)
        await page.get_by_role("button", name="Sign in with the code").click()
        await enrol_app(page)
        await page.get_by_role("link", name="People").click()
        await page.get_by_label("Mail address").fill(address(slug, "bo"))
        await page.get_by_label("Name", exact=True).fill("Bo")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", level=1, name="Bo")).to_be_visible()
        await page.context.clear_cookies(name="__Host-tally_session")  # as after five minutes
        await page.get_by_role("link", name="Roles").click()
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("heading", level=1, name="Roles")).to_be_visible()


@pytest.mark.control("X-01")
async def test_a_passkey_is_enrolled_and_signs_in_alone(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        device = await page.context.new_cdp_session(page)
        await device.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        await device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        await sign_in_by_link(page, site, slug)
        await page.get_by_label("What you call it").nth(1).fill("this laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await look(page, "enrol-passkey")
        await page.get_by_role("button", name="Make the passkey").click()
        await expect(page.get_by_text("this laptop")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1, name="You are signed out")).to_be_visible()

        await page.get_by_role("link", name="Sign in again").click()
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("Signed in as Ada Admin.")).to_be_visible()

        # As the second factor after a link.
        await page.get_by_role("button", name="Sign out").click()
        await sign_in_by_link(page, site, slug)
        await expect(page.get_by_role("heading", level=1, name="Show your second factor")).to_be_visible()
        await look(page, "second-factor")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_text("Signed in as Ada Admin.")).to_be_visible()


async def test_a_passkey_that_is_not_there_is_said_and_leaves_the_other_ways(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        # What a browser says when its owner waves the question away, or has no passkey.
        await page.add_init_script(
            "navigator.credentials.get = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
        )
        await page.goto(f"/sign-in/{slug}")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("No passkey was used. Try again, or take another way.")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_enabled()


@pytest.mark.control("X-02")
async def test_a_link_in_another_browser_asks_for_the_code_of_its_mail(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as first, visitor(browser, site) as second:
        await ask_for_mail(first, slug, address(slug))
        letter = await site.letter(address(slug))
        await second.goto(letter.link)
        await expect(second.get_by_role("alert").first).to_contain_text("asked for in another browser")
        await look(second, "link-code")
        await second.get_by_label("Code from the same mail").fill(letter.code)
        await second.get_by_role("button", name="Go on").click()
        await expect(second.get_by_role("heading", level=1, name="Add a second factor")).to_be_visible()
        await first.goto(letter.link)
        await expect(first.get_by_role("heading", level=1, name="This link cannot be used")).to_be_visible()
        await look(first, "link-used")


@pytest.mark.control("X-08")
async def test_signing_out_is_on_every_page_and_leaves_nothing_behind(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, _):
        for name in ("Your account", "People", "Roles"):
            await page.get_by_role("link", name=name).click()
            await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        async with page.expect_response(re.compile("/account/sign-out")) as answered:
            await page.get_by_role("button", name="Sign out").click()
        assert (await (await answered.value).all_headers())["clear-site-data"] == '"cache", "storage"'
        await expect(page.get_by_role("heading", level=1, name="You are signed out")).to_be_visible()
        await look(page, "signed-out")
        left = {cookie["name"] for cookie in await page.context.cookies()}
        assert left <= {"__Host-tally_tenant", "__Host-tally_login", "__Host-tally_next"}
        await page.go_back()
        await expect(page.get_by_text("Sign in to go on")).to_be_visible()
        assert "Ada Admin" not in await page.content()


async def test_an_administrator_adds_somebody_gives_a_role_and_explains_it(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, slug):
        await page.get_by_role("link", name="Roles").click()
        await look(page, "roles")
        await page.get_by_label("Name (small letters").fill("examiner")
        await page.locator("form", has=page.get_by_role("button", name="Define it")).get_by_label("score.read").check()
        await page.get_by_role("button", name="Define it").click()
        await expect(page.get_by_text("examiner (needs a second factor): 1 capabilities")).to_be_visible()
        await page.get_by_role("link", name="People").click()
        await look(page, "people")
        await page.get_by_label("Mail address").fill(address(slug, "bo"))
        await page.get_by_label("Name", exact=True).fill("Bo")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", level=1, name="Bo")).to_be_visible()
        await page.get_by_text("Give a role").click()
        await page.get_by_label("Role", exact=True).select_option("examiner")
        await page.get_by_label("Until").fill("2099-01-01")
        await page.get_by_role("button", name="Give it").click()
        await expect(
            page.get_by_role("cell", name=re.compile("examiner in Tenant .*, until 1 January 2099"))
        ).to_be_visible()
        await look(page, "person")
        await page.get_by_role("button", name="Disable").click()
        await expect(page.get_by_role("button", name="Enable")).to_be_visible()


async def test_everything_is_reached_and_used_with_the_keyboard(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        await page.goto(f"/sign-in/{slug}")
        await page.keyboard.press("Tab")
        await page.keyboard.type(address(slug))
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("a mail is on its way")
        await page.keyboard.press("Tab")
        await page.keyboard.type((await site.letter(address(slug))).code)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="Add a second factor")).to_be_visible()
        reached = []
        for _ in range(6):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent")
            )
        assert reached == [
            "To the content",
            "Sign out",
            "What you call it",
            "Add an app",
            "What you call it",
            "Add a passkey",
        ]


async def test_a_form_that_was_filled_in_for_longer_than_the_token_lasts_loses_nothing(
    browser: Browser, site: Site
) -> None:
    async with administrator(browser, site) as (page, slug):
        await page.clock.install()
        await page.goto("/admin/people")
        await page.get_by_label("Mail address").fill(address(slug, "late"))
        await page.get_by_label("Name", exact=True).fill("Late")
        await page.clock.fast_forward("06:00")
        await page.context.clear_cookies(name="__Host-tally_session")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", level=1, name="Late")).to_be_visible()


async def test_a_page_after_a_pause_comes_back_by_itself(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, _):
        await page.context.clear_cookies(name="__Host-tally_session")
        await page.goto("/admin/roles")
        await expect(page.get_by_role("heading", level=1, name="Roles")).to_be_visible()


async def test_a_tenant_with_passwords_lets_people_set_and_use_one(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, slug):
        allowed = await page.evaluate(
            """async () => (await fetch("/api/v1/identity/sign-in-policy", {method: "PUT",
            body: JSON.stringify({passwords: true}), headers: {"Content-Type": "application/json",
            "Idempotency-Key": "k", "X-CSRF-Token": document.querySelector("[name=csrf_token]").value}})).status"""
        )
        assert allowed == 200
        await page.goto("/account")
        await page.get_by_label("New password").fill("a parrot on a unicycle")
        await page.get_by_role("button", name="Set it").click()
        await expect(page.get_by_label("Present password")).to_be_visible()
        await look(page, "account-password")
        await page.get_by_role("button", name="Sign out").click()
        await page.goto(f"/sign-in/{slug}")
        await page.get_by_text("Use a password").click()
        await page.get_by_label("Your address").fill(address(slug))
        await page.get_by_label("Password", exact=True).fill("a parrot on a tricycle")
        await page.get_by_role("button", name="Sign in with the password").click()
        await expect(page.get_by_role("alert").first).to_contain_text("not accepted together")
        await look(page, "sign-in-refused")
        await page.get_by_role("button", name="I do not know my password").click()
        await expect(page.get_by_role("status")).to_contain_text("a mail is on its way")
        await page.goto((await site.letter(address(slug))).link)
        await expect(page.get_by_role("heading", level=1, name="Set a new password")).to_be_visible()
        await look(page, "reset")
        await page.get_by_label("New password").fill("a heron in a rowing boat")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("heading", level=1, name="Your password is set")).to_be_visible()
