"""A real Chromium without a window, and how a person finds the way in Home Assistant's pages."""

from collections.abc import AsyncIterator
import os
from pathlib import Path
import shutil

from playwright.async_api import Locator, Page, async_playwright, expect
import pytest

from .real_home_assistant import PASSWORD, USERNAME, RealHomeAssistant

PROGRAM = shutil.which("chromium")
# It speaks to nobody but Home Assistant.
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
# Home Assistant's pages are large, and CI's machines are slow.
MILLISECONDS_TO_SHOW = 60_000
expect.set_options(timeout=MILLISECONDS_TO_SHOW)
SCREENSHOTS = Path(__file__).parents[1] / "docs/screenshots"

needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="there is no chromium here, and scripts/test could get none"
)


@pytest.fixture
async def page(socket_enabled: None) -> AsyncIterator[Page]:
    """Open a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS, chromium_sandbox=False)
        try:
            opened = await browser.new_page(
                viewport={"width": 860, "height": 700}, locale="en-GB", timezone_id="Europe/Oslo"
            )
            opened.set_default_timeout(MILLISECONDS_TO_SHOW)
            yield opened
        finally:
            await browser.close()


async def log_in(page: Page, house: RealHomeAssistant) -> None:
    """Log in as the only user."""
    await page.goto(house.url)
    await page.fill("input[name=username]", USERNAME)
    await page.fill("input[name=password]", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("home-assistant-main", state="attached")


async def picture_shows(picture: Locator) -> None:
    """Return when a picture is there; raise TimeoutError where it does not come."""
    await picture.evaluate("picture => picture.decode()", timeout=MILLISECONDS_TO_SHOW)


async def keep_screenshot(page: Page, name: str) -> None:
    """Write a picture of the page to where the README shows it, if UPDATE_SCREENSHOTS is set."""
    if "UPDATE_SCREENSHOTS" in os.environ:
        await page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")
