"""Entries of the 1.0 series, in today's form."""

from typing import Any

import pytest

from custom_components.ollama_vision.migration import from_version_1

OLD: dict[str, Any] = {
    "name": "Porch",
    "host": "192.0.2.7",
    "port": 11434,
    "model": "moondream",
    "vision_keepalive": "-1",
    "text_model_enabled": False,
}


def test_the_vision_server_is_kept() -> None:
    assert from_version_1(OLD, {}) == {
        "name": "Porch",
        "vision_host": "192.0.2.7",
        "vision_port": 11434,
        "vision_api": "ollama",
        "vision_verify_ssl": True,
        "vision_model": "moondream",
        "vision_keep_alive": "-1",
        "text_model_enabled": False,
    }


def test_the_options_win_over_the_data() -> None:
    new = from_version_1(OLD, {"model": "llava:13b", "vision_keepalive": 0, "port": 8080})
    assert (new["vision_model"], new["vision_keep_alive"], new["vision_port"]) == ("llava:13b", "0", 8080)


def test_the_text_server_is_kept() -> None:
    text = {"text_model_enabled": True, "text_host": "gpu", "text_port": 1, "text_model": "qwen", "text_keepalive": 0}
    new = from_version_1(OLD | text, {})
    assert new["text_model_enabled"] is True
    assert {key: value for key, value in new.items() if key.startswith("text_")} == {
        "text_model_enabled": True,
        "text_host": "gpu",
        "text_port": 1,
        "text_api": "ollama",
        "text_verify_ssl": True,
        "text_model": "qwen",
        "text_keep_alive": "0",
    }


def test_a_text_server_without_a_host_is_the_vision_server() -> None:
    new = from_version_1(OLD | {"text_model_enabled": True, "text_host": ""}, {})
    assert (new["text_host"], new["text_port"], new["text_model"]) == ("192.0.2.7", 11434, "llama3.1")


@pytest.mark.parametrize(
    ("old", "new"),
    [(-1, "-1"), ("5m", "5m"), ("30", "30"), (300, "300"), ("5min", "-1"), ("", "-1"), (None, "-1"), (False, "-1")],
)
def test_a_keep_alive_that_no_server_takes_becomes_the_default(old: Any, new: str) -> None:
    assert from_version_1(OLD | {"vision_keepalive": old}, {})["vision_keep_alive"] == new
