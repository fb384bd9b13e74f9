"""Where an entry says its model servers are, and the clients made from that."""

from typing import Any

from homeassistant.core import HomeAssistant
import pytest

from custom_components.ollama_vision.const import Role
from custom_components.ollama_vision.model_server.address import InvalidAddressError
from custom_components.ollama_vision.model_server.models import Api
from custom_components.ollama_vision.server_settings import ServerSettings, create_server, roles_of

from .common import entry_data, text_model
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront


def test_each_role_has_its_own_settings() -> None:
    data = entry_data("192.0.2.7", vision_api_key="key", vision_verify_ssl=False) | text_model("192.0.2.8")
    assert ServerSettings.from_entry_data(data, Role.VISION) == ServerSettings(
        host="192.0.2.7", port=11434, api=Api.OLLAMA, api_key="key", verify_ssl=False
    )
    assert ServerSettings.from_entry_data(data, Role.TEXT) == ServerSettings(
        host="192.0.2.8", port=11434, api=Api.OLLAMA, api_key=None, verify_ssl=True
    )


@pytest.mark.parametrize("left_out", [{}, {"text_host": ""}, {"text_host": None}])
def test_a_text_host_that_is_left_out_is_the_vision_host(left_out: dict[str, Any]) -> None:
    settings = ServerSettings.from_entry_data({"vision_host": "192.0.2.7"} | left_out, Role.TEXT)
    assert settings == ServerSettings(host="192.0.2.7", port=11434, api=None, api_key=None, verify_ssl=True)


def test_roles() -> None:
    assert roles_of(entry_data("192.0.2.7")) == [Role.VISION]
    assert roles_of(entry_data("192.0.2.7") | text_model("192.0.2.8")) == [Role.VISION, Role.TEXT]


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("192.0.2.7", "http://192.0.2.7:11434"),
        ("[fd00::20]", "http://[fd00::20]:11434"),
        ("fd00::20", "http://[fd00::20]:11434"),
        ("[fd00::20]:8080/models/", "http://[fd00::20]:8080/models"),
        ("https://porch:secret@example.com/ollama", "https://example.com/ollama"),
        ("porch:secret@no address", "no address"),
    ],
)
def test_a_label_has_no_credentials(host: str, label: str) -> None:
    assert ServerSettings(host=host).label == label


def test_a_key_does_not_get_into_logs() -> None:
    assert "secret" not in repr(ServerSettings(host="192.0.2.7", api_key="secret"))


async def test_a_server_is_asked_for_its_protocol_only_where_that_is_open(
    hass: HomeAssistant, ollama_front: OllamaFront, llama_server: LlamaServer
) -> None:
    assert (await create_server(hass, ServerSettings(host=ollama_front.url, api=Api.OPENAI))).api is Api.OPENAI
    assert not ollama_front.requests
    assert (await create_server(hass, ServerSettings(host=ollama_front.url))).api is Api.OLLAMA
    assert (await create_server(hass, ServerSettings(host=llama_server.url))).api is Api.OPENAI


async def test_a_host_that_is_no_address(hass: HomeAssistant) -> None:
    with pytest.raises(InvalidAddressError):
        await create_server(hass, ServerSettings(host="no address", api=Api.OLLAMA))
