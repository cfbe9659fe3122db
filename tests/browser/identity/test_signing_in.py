"""Signing in as people meet it: by script and without, by keyboard, by passkey, from a host's bare name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest
from identity_site import Site
from playwright.async_api import expect

from .steps import address, administrator, ask_for_mail, code_of_the_moment, enrol_app, look, sign_in_by_link, visitor

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_whoever_types_the_host_finds_the_sign_in_page_and_finds_it_again(browser: Browser, site: Site) -> None:
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        await page.goto("/")
        await look(page, "organisation")
        await page.keyboard.press("Tab")
        await page.keyboard.type("No Such Name")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").first).to_contain_text("lower-case letters")
        await look(page, "organisation-refused")
        await page.get_by_label("short name").fill(slug)
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Mail address")).to_be_visible()
        assert page.url == f"{site.base}/sign-in/{slug}"
        await page.goto("/no/such/page")
        await expect(page.get_by_role("heading", level=1, name="There is no page here")).to_be_visible()
        await look(page, "unknown")
        await page.get_by_role("link", name="To the start").click()
        await expect(page.get_by_label("Mail address")).to_be_visible()
        await page.get_by_role("link", name="another organisation").click()
        await expect(page.get_by_label("short name")).to_have_value(slug)


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
