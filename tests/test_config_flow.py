"""Adding a device in the user interface, against servers that answer as real ones do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.ollama_vision.const import DOMAIN

from .common import entry_data, text_model
from .flows import KEY, filled, is_unfolded, options, proceed, start, submit, suggestions
from .servers.faulty import FaultyServer, Script, Step, answer, refusing
from .servers.llama_server import LlamaServer
from .servers.ollama_front import OllamaFront
from .servers.ollama_routes import Routes

pytestmark = pytest.mark.usefixtures("socket_enabled", "setups")


async def test_an_ollama_server_is_recognised_and_its_model_used(
    hass: HomeAssistant, ollama_front: OllamaFront, setups: list[str]
) -> None:
    form = await start(hass)
    assert (form["step_id"], filled(form)) == (
        "user",
        {
            "name": "Ollama Vision",
            "vision_port": 11434,
            "connection": {"api": "detect", "verify_ssl": True},
        },
    )
    form = await proceed(hass, form, vision_host=ollama_front.url)
    assert (form["step_id"], filled(form)) == (
        "vision_model",
        {"vision_model": "tiny-vision:latest", "vision_keep_alive": "-1", "text_model_enabled": False},
    )
    result = await proceed(hass, form)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "Ollama Vision"
    assert result["data"] == entry_data(ollama_front.url, model="tiny-vision:latest")
    assert setups == [result["result"].entry_id]


async def test_an_openai_compatible_server_has_no_keep_alive(hass: HomeAssistant, llama_server: LlamaServer) -> None:
    form = await submit(hass, await start(hass), name="Porch", vision_host=llama_server.url)
    assert filled(form) == {"vision_model": "tiny-vision", "text_model_enabled": False}
    result = await proceed(hass, form)
    assert result["title"] == "Porch"
    assert result["data"] == {
        "name": "Porch",
        "vision_host": llama_server.url,
        "vision_port": 11434,
        "vision_api": "openai",
        "vision_verify_ssl": True,
        "vision_model": "tiny-vision",
        "text_model_enabled": False,
    }


async def test_a_text_model_on_the_same_server(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    form = await proceed(hass, form, text_model_enabled=True)
    assert (form["step_id"], filled(form)) == (
        "text_server",
        {
            "text_host": ollama_front.url,
            "text_port": 11434,
            "connection": {"api": "detect", "verify_ssl": True},
        },
    )
    form = await proceed(hass, form)
    assert (form["step_id"], filled(form)) == ("text_model", {"text_model": "llama3.1", "text_keep_alive": "-1"})
    result = await submit(hass, form, text_model="tiny-text", text_keep_alive="5m")
    assert result["data"] == entry_data(ollama_front.url, model="tiny-vision:latest") | text_model(ollama_front.url) | {
        "text_keep_alive": "5m"
    }


async def test_a_text_model_on_a_server_of_another_kind(
    hass: HomeAssistant, ollama_front: OllamaFront, blind_server: LlamaServer
) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    form = await proceed(hass, form, text_model_enabled=True)
    form = await proceed(hass, form, text_host=blind_server.url)
    assert filled(form) == {"text_model": "tiny-text"}
    result = await proceed(hass, form)
    data = result["data"]
    assert (data["text_host"], data["text_api"], data["text_model"]) == (blind_server.url, "openai", "tiny-text")
    assert "text_keep_alive" not in data


async def test_the_browser_gets_forms_that_it_can_draw(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, ollama_front: OllamaFront
) -> None:
    assert await async_setup_component(hass, "config", {})
    client = await hass_client()

    async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await client.post(f"/api/config/config_entries/{path}", json=body)
        assert response.status == 200, await response.text()
        form: dict[str, Any] = await response.json()
        return form

    form = await post("flow", {"handler": DOMAIN})
    assert [field["name"] for field in form["data_schema"]] == ["name", "vision_host", "vision_port", "connection"]
    assert form["data_schema"][2]["selector"]["number"]["mode"] == "box"
    assert form["data_schema"][3]["type"] == "expandable"
    connection = {field["name"]: field["selector"] for field in form["data_schema"][3]["schema"]}
    assert connection["api_key"]["text"]["type"] == "password"
    assert connection["api"]["select"]["translation_key"] == "server_type"
    form = await post(f"flow/{form['flow_id']}", {"vision_host": ollama_front.url})
    models = form["data_schema"][0]
    assert (models["default"], models["description"]["suggested_value"]) == ("moondream", "tiny-vision:latest")
    assert models["selector"]["select"]["mode"] == "dropdown"
    form = await post(f"flow/{form['flow_id']}", {"vision_model": "tiny-vision", "text_model_enabled": True})
    form = await post(f"flow/{form['flow_id']}", {})
    result = await post(f"flow/{form['flow_id']}", {"text_model": "tiny-text"})
    assert result["type"] == "create_entry"
    form = await post("options/flow", {"handler": result["result"]["entry_id"]})
    assert {part["name"]: part["expanded"] for part in form["data_schema"]} == {
        "asking": True,
        "keeping": False,
        "vision_answers": False,
        "text_answers": False,
        "fallback": False,
    }
    fields = [field for part in form["data_schema"] for field in part["schema"]]
    numbers = {field["name"]: field["selector"]["number"] for field in fields if "number" in field["selector"]}
    assert {number["mode"] for number in numbers.values()} == {"box"}
    assert {name for name, number in numbers.items() if number["step"] != 1} == {
        "vision_temperature",
        "text_temperature",
    }


@asynccontextmanager
async def below_a_path(front: OllamaFront) -> AsyncIterator[str]:
    """Serve a front's answers below /models of another address, as a reverse proxy does; yield host:port."""
    app = web.Application()
    app.add_subapp("/models", Routes(front).application())
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:{port}", "http://127.0.0.1:{port}", " HTTP://127.0.0.1:{port}/api/ "]
)
async def test_a_host_may_be_written_in_many_ways(hass: HomeAssistant, ollama_front: OllamaFront, host: str) -> None:
    port = urlsplit(ollama_front.url).port
    host = host.format(port=port)
    form = await submit(hass, await start(hass), vision_host=host, vision_port=port if host == "127.0.0.1" else 1)
    assert form["description_placeholders"] == {"server": ollama_front.url}
    result = await proceed(hass, form)
    assert result["data"]["vision_host"] == host.strip()


async def test_a_server_below_a_path(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    async with below_a_path(ollama_front) as place:
        for host in (f"{place}/models", f"http://{place}/models/"):
            form = await submit(hass, await start(hass), vision_host=host)
            assert form["description_placeholders"] == {"server": f"http://{place}/models"}
            assert options(form, "vision_model")[0][0] == "tiny-vision:latest"


@pytest.mark.parametrize("host", ["", "   ", "ftp://127.0.0.1", "a b", "127.0.0.1:99999", "http://", "1.2.3"])
async def test_what_is_no_address_is_said_at_the_host(hass: HomeAssistant, host: str) -> None:
    form = await submit(hass, await start(hass), name="Porch", vision_host=host, vision_port=8080)
    assert (form["step_id"], form["errors"]) == ("user", {"vision_host": "invalid_host"})
    assert filled(form) == {
        "name": "Porch",
        "vision_host": host.strip(),
        "vision_port": 8080,
        "connection": {"api": "detect", "verify_ssl": True},
    }


NOT_FOUND = [answer(404, b"404 page not found", "text/plain")]
PAGE = [answer(200, b"<html>Log in</html>", "text/html")]
BUSY = [answer(503, b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}')]
FORBIDDEN = [answer(403)]


class Trouble(NamedTuple):
    """What a server does and what the form says of it."""

    script: Script
    field: str
    error: str
    patience: float = 30.0


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Trouble(NOT_FOUND, "vision_host", "not_a_model_server"), id="another kind of server"),
        pytest.param(Trouble(PAGE, "vision_host", "not_a_model_server"), id="a page for people"),
        pytest.param(Trouble([answer(200, b"{")], "vision_host", "not_a_model_server"), id="broken JSON"),
        pytest.param(Trouble([Step.RESET], "vision_host", "cannot_connect"), id="reset"),
        pytest.param(Trouble([Step.HANG], "vision_host", "timeout", patience=0.2), id="silent"),
        pytest.param(Trouble(BUSY, "vision_host", "busy"), id="busy"),
        pytest.param(Trouble(FORBIDDEN, "connection", "invalid_auth"), id="forbidden"),
    ],
)
async def test_a_server_that_fails_is_said_where_it_is_mended(
    hass: HomeAssistant,
    ollama_front: OllamaFront,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Trouble,
) -> None:
    typed = {"name": "Porch", "connection": {"api": "detect", "api_key": KEY, "verify_ssl": False}}
    async with FaultyServer(trouble.script) as server:
        with monkeypatch.context() as hasty:
            hasty.setattr("custom_components.ollama_vision.model_server.transport.SMALL_TALK_SECONDS", trouble.patience)
            form = await submit(hass, await start(hass), vision_host=server.url, **typed)
    assert (form["step_id"], form["errors"]) == ("user", {trouble.field: trouble.error})
    assert is_unfolded(form, "connection") is (trouble.field == "connection")
    assert filled(form)["name"] == "Porch"
    assert filled(form)["connection"]["verify_ssl"] is False
    # The flow goes on when the server is mended, with all that was typed.
    form = await proceed(hass, form, vision_host=ollama_front.url)
    result = await proceed(hass, form)
    assert result["data"] == entry_data(
        ollama_front.url, model="tiny-vision:latest", name="Porch", vision_api_key=KEY, vision_verify_ssl=False
    )


async def test_a_server_that_is_off(hass: HomeAssistant) -> None:
    with refusing() as url:
        form = await submit(hass, await start(hass), vision_host=url)
    assert form["errors"] == {"vision_host": "cannot_connect"}


async def test_a_refused_key_is_said_at_the_section_and_never_shown(
    hass: HomeAssistant, locked_server: LlamaServer
) -> None:
    form = await start(hass)
    for connection in ({}, {"api_key": "wrong"}):
        form = await submit(hass, form, vision_host=locked_server.url, connection=connection)
        assert form["errors"] == {"connection": "invalid_auth"}
        assert is_unfolded(form, "connection")
    assert "wrong" not in str(suggestions(form))
    form = await submit(hass, form, vision_host=locked_server.url, connection={"api_key": KEY})
    result = await proceed(hass, form)
    assert result["data"]["vision_api_key"] == KEY


async def test_one_key_opens_one_server_for_both_models(hass: HomeAssistant, locked_server: LlamaServer) -> None:
    form = await submit(hass, await start(hass), vision_host=locked_server.url, connection={"api_key": KEY})
    form = await proceed(hass, form, text_model_enabled=True)
    form = await submit(hass, form, text_host="", connection={"api_key": ""})
    result = await proceed(hass, form)
    assert result["data"]["text_host"] == locked_server.url
    assert result["data"]["text_api_key"] == KEY


async def test_the_type_of_server_may_be_chosen(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    """Ollama speaks OpenAI's protocol too; a llama.cpp server does not speak Ollama's."""
    form = await submit(hass, await start(hass), vision_host=ollama_front.url, connection={"api": "openai"})
    assert "vision_keep_alive" not in filled(form)
    result = await proceed(hass, form, vision_model="tiny-vision")
    assert result["data"]["vision_api"] == "openai"


async def test_a_wrong_type_of_server_is_said(hass: HomeAssistant, llama_server: LlamaServer) -> None:
    form = await submit(hass, await start(hass), vision_host=llama_server.url, connection={"api": "ollama"})
    assert form["errors"] == {"vision_host": "not_a_model_server"}
    form = await proceed(hass, form, connection=filled(form)["connection"] | {"api": "detect"})
    assert form["step_id"] == "vision_model"


async def test_errors_of_the_text_server_are_said_at_its_fields(
    hass: HomeAssistant, ollama_front: OllamaFront, locked_server: LlamaServer
) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    form = await proceed(hass, form, text_model_enabled=True)
    form = await proceed(hass, form, text_host="no address")
    assert (form["step_id"], form["errors"]) == ("text_server", {"text_host": "invalid_host"})
    form = await proceed(hass, form, text_host=locked_server.url)
    assert form["errors"] == {"connection": "invalid_auth"}
    form = await proceed(hass, form, connection={"api_key": KEY})
    result = await proceed(hass, form)
    assert result["data"]["text_api_key"] == KEY


async def test_the_same_device_a_second_time(
    hass: HomeAssistant, ollama_front: OllamaFront, llama_server: LlamaServer
) -> None:
    """However its server and its models are written; another name, server, model or text model is another device."""
    ollama_front.models.add("moondream")
    place = ollama_front.url.removeprefix("http://")

    async def add(host: str, model: str, name: str = "Porch", text: str | None = None) -> str:
        form = await submit(hass, await start(hass), name=name, vision_host=host)
        result = await proceed(hass, form, vision_model=model, text_model_enabled=text is not None)
        if text is not None:
            result = await proceed(hass, await proceed(hass, result), text_model=text)
        return result.get("reason") or str(result["type"].value)

    assert await add(place, "moondream") == "create_entry"
    assert await add(f"{ollama_front.url}/", "Moondream:latest") == "already_configured"
    assert await add(place, "tiny-vision") == "create_entry"
    assert await add(llama_server.url, "tiny-vision") == "create_entry"
    assert await add(place, "moondream", name="Garden") == "create_entry"
    assert await add(place, "moondream", text="tiny-text") == "create_entry"
    assert await add(place, "moondream", text="tiny-text:latest") == "already_configured"
    assert await add(place, "moondream", text="tiny-vision") == "create_entry"


async def test_an_entry_of_the_1_0_series_that_is_disabled_is_no_hindrance(
    hass: HomeAssistant, ollama_front: OllamaFront
) -> None:
    MockConfigEntry(domain=DOMAIN, data={"name": "Ollama Vision", "host": "192.0.2.7"}, version=1).add_to_hass(hass)
    result = await proceed(hass, await submit(hass, await start(hass), vision_host=ollama_front.url))
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> SSLContext:
    """Make a certificate for 127.0.0.1 that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_certificate_that_nobody_trusts(
    hass: HomeAssistant, ollama_front: OllamaFront, self_signed: SSLContext
) -> None:
    # The server complains of a client that leaves in the middle of the handshake, which is what this is about.
    asyncio.get_running_loop().set_exception_handler(None)
    server = TestServer(Routes(ollama_front).application(), host="127.0.0.1", scheme="https")
    await server.start_server(ssl=self_signed)
    try:
        url = f"https://127.0.0.1:{server.port}"
        form = await submit(hass, await start(hass), vision_host=url)
        assert form["errors"] == {"connection": "untrusted_certificate"}
        assert is_unfolded(form, "connection")
        form = await proceed(hass, form, connection=filled(form)["connection"] | {"verify_ssl": False})
        result = await proceed(hass, form)
        assert result["data"] == entry_data(url, model="tiny-vision:latest", vision_verify_ssl=False)
    finally:
        await server.close()


async def test_a_server_that_speaks_no_tls(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url.replace("http:", "https:"))
    assert form["errors"] == {"vision_host": "tls_failed"}


async def test_a_dialog_that_is_opened_again_is_where_it_was(hass: HomeAssistant, ollama_front: OllamaFront) -> None:
    form = await submit(hass, await start(hass), vision_host=ollama_front.url)
    again = await hass.config_entries.flow.async_configure(form["flow_id"])
    assert (again["step_id"], filled(again)) == ("vision_model", filled(form))
    form = await proceed(hass, form, text_model_enabled=True)
    again = await hass.config_entries.flow.async_configure(form["flow_id"])
    assert (again["step_id"], filled(again)) == ("text_server", filled(form))
