"""`login`: from opening the sign-in page until the browser is signed in, by a link from real mail, in Chromium.

The whole system as `tally up` runs it, with its local mail server. Each sign-in is of another candidate, in a new
browser context with nothing in its caches; whoever signs in reads their mail as soon as it lies in the Maildir.
"""

import asyncio
import os
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Final

from playwright.async_api import Browser, async_playwright
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import control
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

from bench.measure import Measure, Result, result

GOAL: Final = 1.0
LIMIT_MS: Final = 1_500.0
_SLUG: Final = "bench"
_SESSION: Final = "__Host-tally_session"
_MAIL_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.01


def take() -> Result:
    """Sign TALLY_BENCH_LOGINS candidates (30) in, one after the other; the 95th percentile of the times."""
    number = int(os.environ.get("TALLY_BENCH_LOGINS", "30"))
    with temporary_folder() as layout, control.attached(layout), tempfile.TemporaryDirectory() as folder:
        made = create_tenant(layout.root, command="init", slug=_SLUG, name="Bench", admin="admin@bench.example")
        if made != 0:
            msg = f"making the tenant ended with {made}"
            raise RuntimeError(msg)
        times_ms = asyncio.run(_measure(layout, Path(folder) / "journal", number))
    return result(
        name="login",
        value=quantiles(times_ms, n=20)[18],
        unit="ms, p95",
        reference="the limit, in ms",
        reference_value=LIMIT_MS,
        goal=GOAL,
        better="lower",
    )


async def _measure(layout: Layout, journal: Path, number: int) -> list[float]:
    urls, mailbox = control.endpoints(layout), Mailbox(layout.mail)
    tls = ssl.create_default_context(cafile=str(layout.ca_file))
    candidates = [f"candidate{one}@bench.example" for one in range(number + 1)]
    with Journal(journal) as written:
        admin = Person(World(urls, tls, mailbox, written, Traffic()), tenant=_SLUG, email="admin@bench.example")
        await admin.sign_in()
        rows = [{"org_unit": "", "email": one, "display_name": "Bench", "role": "candidate"} for one in candidates]
        await admin.do("POST", "identity", "/api/v1/identity/imports", {"rows": rows})
        await admin.leave()
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_chromium(), args=arguments)
        times_ms = [await _sign_in(browser, urls, mailbox, one) for one in candidates]
        await browser.close()
    return times_ms[1:]  # the first starts Chromium's processes and fills the services' caches


async def _sign_in(browser: Browser, urls: Mapping[str, str], mailbox: Mailbox, address: str) -> float:
    # The local authority is not Chromium's; whether certificates are checked is not what is measured.
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    began = perf_counter()
    await page.goto(f"{urls['identity']}/sign-in/{_SLUG}")
    await page.get_by_label("Mail address").fill(address)
    await page.get_by_label("Mail address").press("Enter")
    link = await mailbox.next_link(address, timeout_s=_MAIL_WITHIN_S)
    await page.goto(f"{urls['identity']}/sign-in/{_SLUG}/verify#{link.request_id}.{link.token}")
    async with asyncio.timeout(_MAIL_WITHIN_S):
        while not any(cookie.get("name") == _SESSION for cookie in await context.cookies()):  # noqa: ASYNC110 - a browser tells nobody
            await asyncio.sleep(_POLL_S)
    took_ms = (perf_counter() - began) * 1_000
    await context.close()
    return took_ms


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        msg = "`login` needs Chromium: apt-get install chromium fonts-liberation"
        raise RuntimeError(msg)
    return found


MEASURE: Final = Measure("login", take)
