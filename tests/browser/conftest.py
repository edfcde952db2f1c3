"""The stage of every test with a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.browser_stage import Stage, browser_stage, chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def web(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    async with browser_stage(browser, tmp_path) as made:
        yield made
