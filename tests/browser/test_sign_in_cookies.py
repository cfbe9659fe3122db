"""After a sign-in by a mailed link in a real browser, what a script in a page could read is worth nothing."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from tallystick_cli.operator.actions import create_tenant
from tallystick_demo.mailbox import Mailbox

if TYPE_CHECKING:
    from playwright.async_api import Browser
    from sweep.house import House

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("system")]

SESSION, REFRESH, CSRF = "__Host-tally_session", "__Secure-tally_refresh", "__Host-tally_csrf"


@pytest.mark.control("AC-03")
async def test_a_script_reads_the_forgery_token_and_no_other(browser: Browser, house: House) -> None:
    slug, urls = f"cookies-{secrets.token_hex(3)}", house.urls
    address = f"admin@{slug}.example"
    made = await asyncio.to_thread(
        create_tenant, house.layout.root, command="add-tenant", slug=slug, name="Cookies", admin=address
    )
    assert made == 0
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    await page.goto(f"{urls['identity']}/sign-in/{slug}")
    await page.get_by_label("Mail address").fill(address)
    await page.get_by_label("Mail address").press("Enter")
    link = await Mailbox(house.layout.mail).next_link(address, timeout_s=30.0)
    await page.goto(f"{urls['identity']}/sign-in/{slug}/verify#{link.request_id}.{link.token}")
    async with asyncio.timeout(30):
        while not (found := {str(one.get("name")): one for one in await context.cookies()}).keys() >= {SESSION, CSRF}:  # noqa: ASYNC110 - a browser tells nobody
            await asyncio.sleep(0.05)
    for name, same_site in ((SESSION, "Lax"), (REFRESH, "Strict")):
        cookie = found[name]
        assert (cookie.get("httpOnly"), cookie.get("secure"), cookie.get("sameSite")) == (True, True, same_site), name
    readable = await page.evaluate("document.cookie")
    assert {one.split("=")[0].strip() for one in readable.split(";")} == {CSRF}
    kept = await page.evaluate("[Object.keys(localStorage), Object.keys(sessionStorage)]")
    assert kept == [[], []]
    await context.close()
