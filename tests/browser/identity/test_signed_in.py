"""The account and administration as people meet them, and what becomes of forms that were left lying."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyotp
import pytest
from identity_site import Site
from playwright.async_api import expect

from .steps import (
    address,
    administrator,
    ask_for_mail,
    code_of_the_moment,
    enrol_app,
    look,
    sign_in_by_link,
    visitor,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        await page.get_by_text("Define a role").click()
        await page.get_by_label("Name", exact=True).fill("examiner")
        await page.locator("form", has=page.get_by_role("button", name="Define it")).get_by_label("score.read").check()
        await page.get_by_role("button", name="Define it").click()
        await expect(page.locator("summary", has_text="examiner")).to_contain_text("Results (1 of 4)")
        await expect(page.locator("summary", has_text="examiner")).to_contain_text("needs a second factor")
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
        await page.get_by_role("link", name="People").click()
        await page.get_by_label("Find somebody").fill(address(slug, "nobody"))
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_role("alert").first).to_contain_text("Nobody in your units")
        await look(page, "people-not-found")
        await page.get_by_label("Find somebody").fill(address(slug, "bo"))
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_role("heading", level=1, name="Bo")).to_be_visible()
        await page.get_by_role("button", name="Disable").click()
        await expect(page.get_by_role("button", name="Enable")).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
async def test_a_form_that_was_filled_in_for_longer_than_the_token_lasts_loses_nothing(
    browser: Browser, site: Site, *, script: bool
) -> None:
    async with visitor(browser, site, java_script_enabled=script) as page:
        slug = await site.new_tenant()
        await ask_for_mail(page, slug, address(slug))
        await page.get_by_label("Code from the mail").fill((await site.letter(address(slug))).code)
        await page.get_by_role("button", name="Sign in with the code").click()
        await enrol_app(page)
        await page.goto("/admin/people")
        await page.get_by_label("Mail address").fill(address(slug, "late"))
        await page.get_by_label("Name", exact=True).fill("Late")
        await page.context.clear_cookies(name="__Host-tally_session")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", level=1, name="Late")).to_be_visible()


async def test_a_double_click_enrols_once_and_loses_no_session(browser: Browser, site: Site) -> None:
    """The first begins a new session; the second would come with the forgery token of the old one."""
    slug = await site.new_tenant()
    async with visitor(browser, site) as page:
        await sign_in_by_link(page, site, slug)
        await page.get_by_role("button", name="Add an app").dblclick()
        app = pyotp.TOTP(await page.locator("strong.mono").inner_text())
        await page.get_by_label("Code from the app").fill(await code_of_the_moment(app))
        sent: list[str] = []
        page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
        await page.get_by_role("button", name="Put it to use").dblclick()
        await expect(page.get_by_role("heading", level=1, name="Your account")).to_be_visible()
        assert len(sent) == 1


async def test_a_form_of_an_earlier_session_says_so_and_leads_to_what_holds_now(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, _):
        await page.goto("/account")
        await page.evaluate(
            "document.querySelectorAll('[name=csrf_token]').forEach((one) => one.value = 'x'.repeat(43))"
        )
        await page.get_by_label(re.compile("Name of the session")).fill("mine")
        await page.get_by_role("button", name="Name it").click()
        await expect(page.get_by_role("heading", level=1, name="This form was not taken")).to_be_visible()
        await look(page, "outdated")
        await page.get_by_role("link", name="Open the page anew").click()
        await expect(page.get_by_role("heading", level=1, name="Your account")).to_be_visible()


async def test_a_page_after_a_pause_comes_back_by_itself(browser: Browser, site: Site) -> None:
    async with administrator(browser, site) as (page, _):
        await page.context.clear_cookies(name="__Host-tally_session")
        await page.goto("/admin/roles")
        await expect(page.get_by_role("heading", level=1, name="Roles")).to_be_visible()
