"""What a person does in a browser: adds a device, tries the action, and sees the result wherever it shows."""

from pathlib import Path
import re
import shutil
from typing import Any

from playwright.async_api import Page, expect
import pytest

from .browser import keep_screenshot, log_in, needs_chromium, picture_shows
from .readme import block
from .real_home_assistant import RealHomeAssistant, free_port
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFrontProcess

FRONT_DOOR = Path(__file__).parents[1] / "scripts/lib/front-door.jpg"
RED = "The picture is mostly red."
DEVICE = "Ollama Vision"


async def add_device(page: Page, house: RealHomeAssistant, server: str) -> None:
    """Add a device through its form, with a mistake in the address at first."""
    await page.goto(f"{house.url}/config/integrations/dashboard")
    await page.get_by_role("button", name="Add integration").click()
    await page.get_by_placeholder("Search for a brand name").fill(DEVICE)
    await page.get_by_text(DEVICE, exact=True).click()

    host = page.locator("[name=vision_host] input")
    await host.fill(f"127.0.0.1:{free_port()}")
    await keep_screenshot(page, "add")
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_text("cannot be reached")).to_be_visible()
    await host.fill(server)
    await page.get_by_role("button", name="Submit").click()

    await expect(page.get_by_text("tiny-vision:latest")).to_be_visible()
    await page.get_by_role("button", name="Submit").click()
    await page.get_by_role("button", name="Skip and finish").click()


async def analyze(page: Page, house: RealHomeAssistant) -> None:
    """Run the action from the developer tools."""
    await page.goto(f"{house.url}/developer-tools/action")
    await page.locator("ha-service-picker").click()
    await page.locator("ha-service-picker input").fill("Analyze image")
    await page.get_by_text("ollama_vision.analyze_image").first.click()
    url = page.locator("ha-settings-row").filter(has_text="Image URL")
    await url.locator("ha-checkbox").click()
    await url.get_by_role("button", name="Add").click()
    await url.locator("ha-selector input").fill("/local/front-door.jpg")
    await page.locator("ha-settings-row").filter(has_text="Image name").locator("input").fill("Front door")
    await page.get_by_role("button", name="Perform action").click()
    response = page.locator(".cm-content").filter(has_text="final_description")
    await expect(response).to_contain_text(f"final_description: {RED}")
    await page.get_by_text("Copy to clipboard as template").scroll_into_view_if_needed()
    await keep_screenshot(page, "action")


async def see_device(page: Page, house: RealHomeAssistant) -> None:
    """Find the result on the device's page."""
    await page.goto(f"{house.url}/config/integrations/integration/ollama_vision")
    await page.locator("ha-config-entry-device-row").click()
    await expect(page.locator("ha-device-entities-card").filter(has_text="Sensors")).to_contain_text(RED)
    await expect(page.locator("ha-logbook")).to_contain_text(f"was analyzed: {RED}")
    await keep_screenshot(page, "device")


async def see_card(page: Page, house: RealHomeAssistant) -> None:
    """Put the README's card on a dashboard and look at it."""
    card: dict[str, Any] = block("type: vertical-stack").config
    dashboard = {"url_path": "front-door", "title": "Front door", "mode": "storage"}
    await house.command("lovelace/dashboards/create", **dashboard, require_admin=False, show_in_sidebar=True)
    views = {"views": [{"title": "Front door", "cards": [card]}]}
    await house.command("lovelace/config/save", url_path="front-door", config=views)
    await page.goto(f"{house.url}/front-door/0")
    await picture_shows(page.locator("hui-picture-entity-card img"))
    await expect(page.locator("hui-markdown-card")).to_contain_text(re.compile(rf"{RED}\s*\d+ seconds? ago"))
    await keep_screenshot(page, "card")


async def see_media(page: Page, house: RealHomeAssistant) -> None:
    """Find the picture in the media browser and open it."""
    await page.goto(f"{house.url}/media-browser/browser")
    for folder in (DEVICE, DEVICE, "By name"):
        await page.locator("ha-card").filter(has_text=folder).click()
    async with page.expect_response(re.compile("/api/ollama_vision/picture/")) as thumbnail:
        await page.locator("ha-card").filter(has_text="Front door").click()
    assert (await thumbnail.value).ok
    picture = page.locator("ha-card").filter(has_text=RED)
    await expect(picture).to_be_visible()
    await keep_screenshot(page, "media")
    await picture.click()
    await picture_shows(page.get_by_role("img", name=re.compile(RED)))


@needs_chromium
@pytest.mark.timeout(300)
async def test_a_person_adds_a_device_tries_the_action_and_sees_the_result(
    tmp_path: Path, page: Page, llama_server: LlamaServer
) -> None:
    (tmp_path / "www").mkdir()
    shutil.copy(FRONT_DOOR, tmp_path / "www")
    with OllamaFrontProcess(llama_server.url) as server:
        async with RealHomeAssistant(tmp_path) as house:
            await log_in(page, house)
            await add_device(page, house, server.url)
            await analyze(page, house)
            await see_device(page, house)
            await see_card(page, house)
            await see_media(page, house)
