"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from browser_launch import chromium_arguments, find_chromium
from playwright.async_api import Browser, async_playwright


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Return where Chromium is; the test fails, not skips, where there is none."""
    found = find_chromium()
    if found is None:
        pytest.fail("browser tests need Chromium: apt-get install chromium fonts-liberation", pytrace=False)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=chromium_arguments())
        yield browser
        await browser.close()
