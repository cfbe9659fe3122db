"""Identity's pages over TLS, and a Chromium that takes their certificate for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio
from browser_launch import chromium_arguments
from identity_site import Site, running_site
from playwright.async_api import async_playwright
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from playwright.async_api import Browser
    from tallystick_cli.stack.temporary import RunningServers


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
