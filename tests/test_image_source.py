"""Pictures from disk and from data: URLs."""

import asyncio
from base64 import b64encode
import os
from pathlib import Path

from homeassistant.core import HomeAssistant
import pytest

from custom_components.ollama_vision import image_source
from custom_components.ollama_vision.const import AnalysisFault
from custom_components.ollama_vision.image_source import ImageSourceError, parse_source

from .image_sources import PICTURE, failure, get, set_up_home

MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
async def _home(hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Home Assistant's folders and addresses, and no time to wait for late files."""
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.01, 0.01, 0.01))
    await set_up_home(hass, tmp_path)


async def test_a_data_url_is_decoded(hass: HomeAssistant) -> None:
    """As programs write it, in one line or in many."""
    picture = PICTURE * 200
    payload = b64encode(picture).decode()
    lines = "\n".join(payload[start : start + 76] for start in range(0, len(payload), 76))
    assert await get(hass, f"data:image/jpeg;base64,{payload}") == picture
    assert await get(hass, f"DATA:image/jpeg;base64,{lines}\n") == picture


@pytest.mark.parametrize("payload", ["a", "a" * 9, "a" * 200_001, "ä" * 8])
async def test_broken_base64_is_told(hass: HomeAssistant, payload: str) -> None:
    """Which nobody sees before it is decoded."""
    kind, text = await failure(get(hass, f"data:image/png;base64,{payload}"))
    assert kind is AnalysisFault.NOT_AN_IMAGE
    assert "The data: URL holds no picture" in text


async def test_a_data_url_has_the_limit_of_all_pictures(hass: HomeAssistant) -> None:
    """Whether it shows before it is decoded or after."""
    just_over = b64encode(bytes(20 * MEGABYTE + 1)).decode()
    kind, text = await failure(get(hass, f"data:image/png;base64,{just_over}"))
    assert kind is AnalysisFault.IMAGE_TOO_LARGE
    assert text.startswith("data:image/png;base64, is larger than 20 MB")
    with pytest.raises(ImageSourceError) as caught:
        parse_source(hass, f"data:image/png;base64,{just_over * 2}")
    assert caught.value.fault is AnalysisFault.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("/local/x.jpg", "config/www/x.jpg"),
        ("/local/x.jpg?v=12#now", "config/www/x.jpg"),
        ("/local/sub%20folder/%C3%BC.jpg", "config/www/sub folder/ü.jpg"),
        ("/local/sub folder/ü.jpg", "config/www/sub folder/ü.jpg"),
        ("/local/100%.jpg", "config/www/100%.jpg"),
        ("www/x.jpg", "config/www/x.jpg"),
        ("http://ha.test:8123/local/x.jpg", "config/www/x.jpg"),
        ("/media/local/cam/x.jpg", "config/media/cam/x.jpg"),
        ("/media/share/x.jpg", "share/x.jpg"),
        ("media-source://media_source/local/cam/x.jpg", "config/media/cam/x.jpg"),
        ("media-source://media_source/local/cam/a%20b", "config/media/cam/a%20b"),
        ("{root}/share/x.jpg", "share/x.jpg"),
        ("{root}/share/a%20b?c#d.jpg", "share/a%20b?c#d.jpg"),
        ("{root}/private/../share/x.jpg", "share/x.jpg"),
        ("{root}/config/www/x", "config/www/x"),
    ],
)
async def test_a_file_is_read(hass: HomeAssistant, tmp_path: Path, value: str, file: str) -> None:
    """By its path in Home Assistant, which is part of a URL, by its media id or by its path on disk, which are not."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(PICTURE)
    assert await get(hass, value.format(root=tmp_path)) == PICTURE


@pytest.mark.parametrize(
    "value",
    [
        "{root}/private/x.jpg",
        "{root}/private/missing.jpg",
        "{root}/share/../private/x.jpg",
        "{root}/share/link.jpg",
        "{root}/share/folder/x.jpg",
        "{root}/config/secrets.yaml",
        "/etc/passwd",
        "/local/../secrets.yaml",
        "/local/%2e%2e/secrets.yaml",
        "/local/..%2Fsecrets.yaml",
        "/local/x/../../secrets.yaml",
        "/media/local/../../secrets.yaml",
        "/media/unknown/x.jpg",
        "/backup/share/x.jpg",
        "/api/../../etc/passwd",
        "//etc/passwd",
        "www/../secrets.yaml",
        "/local/link.jpg",
        "/media/share/link.jpg",
        "media-source://media_source/share/link.jpg",
        "http://ha.test:8123/local/link.jpg",
        "//127.0.0.1:8123/local/x.jpg",
    ],
)
async def test_what_is_outside_the_allowed_folders_is_not_read(hass: HomeAssistant, tmp_path: Path, value: str) -> None:
    """Neither by dots nor by symlinks, and nobody learns what is there."""
    for file in ("private/x.jpg", "config/secrets.yaml", "config/www/x.jpg", "share/x.jpg"):
        (tmp_path / file).write_bytes(PICTURE)
    for link in ("share/link.jpg", "config/www/link.jpg"):
        (tmp_path / link).symlink_to(tmp_path / "private" / "x.jpg")
    (tmp_path / "share" / "folder").symlink_to(tmp_path / "private")
    kind, text = await failure(get(hass, value.format(root=tmp_path)))
    assert kind is AnalysisFault.IMAGE_FORBIDDEN
    assert "Add its folder to allowlist_external_dirs" in text


async def test_a_symlink_inside_the_allowed_folders_is_followed(hass: HomeAssistant, tmp_path: Path) -> None:
    """As for a "latest" picture."""
    (tmp_path / "share" / "1.jpg").write_bytes(PICTURE)
    (tmp_path / "config" / "www" / "latest.jpg").symlink_to(tmp_path / "share" / "1.jpg")
    assert await get(hass, "/local/latest.jpg") == PICTURE


async def test_what_is_not_a_file_is_refused(hass: HomeAssistant, tmp_path: Path) -> None:
    """A folder, a pipe that would wait, a device that would not end."""
    hass.config.allowlist_external_dirs.add("/dev")
    os.mkfifo(tmp_path / "share" / "pipe")
    async with asyncio.timeout(10):
        for value in (f"{tmp_path}/share", "/media/local", f"{tmp_path}/share/pipe", "/dev/zero"):
            kind, text = await failure(get(hass, value))
            assert kind is AnalysisFault.IMAGE_FORBIDDEN
            assert f"{value} is not a file" in text


async def test_a_file_that_cannot_be_read_is_told(hass: HomeAssistant, tmp_path: Path) -> None:
    """A broken drive, here a process' memory at address 0, or a name that no drive takes."""
    hass.config.allowlist_external_dirs.add("/proc")
    for value in (f"/proc/{os.getpid()}/mem", f"{tmp_path}/share/{'x' * 300}", f"{tmp_path}/share/\ud800"):
        kind, text = await failure(get(hass, value))
        assert kind is AnalysisFault.IMAGE_FORBIDDEN
        assert "cannot be read. Check the permissions" in text


async def test_files_that_are_missing_empty_or_too_large_are_told_apart(hass: HomeAssistant, tmp_path: Path) -> None:
    """Each has its own sentence."""
    (tmp_path / "share" / "empty.jpg").touch()
    with (tmp_path / "share" / "large.jpg").open("wb") as large:
        large.truncate(1024 * MEGABYTE)
    expected = {
        "missing.jpg": (AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at"),
        "empty.jpg/x": (AnalysisFault.IMAGE_NOT_FOUND, "There is no picture at"),
        "empty.jpg": (AnalysisFault.IMAGE_NOT_FOUND, "is empty"),
        "large.jpg": (AnalysisFault.IMAGE_TOO_LARGE, "is larger than 20 MB"),
    }
    for name, (fault, said) in expected.items():
        kind, text = await failure(get(hass, f"{tmp_path}/share/{name}"))
        assert kind is fault
        assert said in text
        assert f"{tmp_path}/share/{name}" in text


@pytest.mark.parametrize("value", ["/local/late.jpg", "media-source://media_source/share/../local/late.jpg"])
async def test_a_file_of_home_assistants_may_be_a_moment_late(
    hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """An automation that saves a picture and asks about it at once."""
    monkeypatch.setattr(image_source, "LATE_DELAYS", (0.1,) * 30)
    files = [tmp_path / "config" / folder / "late.jpg" for folder in ("www", "media")]
    fetching = asyncio.create_task(get(hass, value))
    await asyncio.sleep(0.05)
    for file in files:
        file.touch()
    await asyncio.sleep(0.1)
    for file in files:
        file.write_bytes(PICTURE)
    assert await fetching == PICTURE
