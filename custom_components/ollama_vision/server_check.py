"""Tests what a person typed about servers and models, before it is saved."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from aiohttp import ClientConnectorCertificateError, ClientSSLError
from homeassistant.const import CONF_NAME
from homeassistant.core import HomeAssistant

from .model_server.address import InvalidAddressError
from .model_server.errors import (
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)
from .model_server.models import Model, ModelManager, ModelServer
from .model_server.names import same_model
from .server_settings import ServerSettings, create_server, roles_of

# The first class that fits names the form's error: subclasses stand before their parents.
_ERRORS: Final[tuple[tuple[type[ModelServerError], str], ...]] = (
    (ModelServerTimeoutError, "timeout"),
    (ModelServerConnectionError, "cannot_connect"),
    (ModelServerBusyError, "busy"),
    (ModelServerError, "not_a_model_server"),
)


class CheckFailedError(Exception):
    """What is wrong with a server or a model: the key of the form's error and what its sentence names."""

    def __init__(self, key: str, **placeholders: str) -> None:
        super().__init__(key)
        self.key = key
        self.placeholders = placeholders


class ConnectionSettingsError(CheckFailedError):
    """The server is there; its key, or whether its certificate is verified, has to be changed."""


class KeyRefusedError(ConnectionSettingsError):
    """The server refuses the key."""


class ModelMissingError(CheckFailedError):
    """The server does not have the model."""


async def check_server(hass: HomeAssistant, settings: ServerSettings) -> tuple[ModelServer, list[Model]]:
    """Return a client of a server and its models; raise CheckFailedError where it is away or refuses the key."""
    try:
        server = await create_server(hass, settings)
        return server, await server.models()
    except InvalidAddressError as err:
        raise CheckFailedError("invalid_host") from err
    except ModelServerError as err:
        raise _failed(err) from err


async def check_model(server: ModelServer, name: str, *, must_see: bool) -> None:
    """Raise CheckFailedError where the server does not have the model, or where it has to see and cannot."""
    try:
        models = await server.models()
        if not any(same_model(model.name, name) for model in models):
            raise ModelMissingError("model_not_found", model=name)
        if must_see and await server.can_see(name) is False:
            raise _cannot_see(name, models)
    except ModelServerError as err:
        raise _failed(err) from err


async def pull_model(server: ModelManager, name: str, report: Callable[[float], None]) -> None:
    """Have the server download a model, and report how far it is from 0 to 1 at every per cent."""
    percent = 0
    try:
        async with aclosing(server.pull(name)) as pull:  # so that whoever cancels this ends the download at once
            async for progress in pull:
                if progress.fraction is not None and int(progress.fraction * 100) > percent:
                    percent = int(progress.fraction * 100)
                    report(percent / 100)
    except ModelServerError as err:
        raise CheckFailedError("pull_failed", model=name, reason=str(err)) from err


def same_device(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two entries' data have the same name, servers and models."""
    roles = roles_of(one)
    return (
        one[CONF_NAME] == other[CONF_NAME]
        and roles == roles_of(other)
        and all(
            ServerSettings.from_entry_data(one, role).label == ServerSettings.from_entry_data(other, role).label
            and same_model(one[f"{role}_model"], other[f"{role}_model"])
            for role in roles
        )
    )


def _cannot_see(name: str, models: list[Model]) -> CheckFailedError:
    seeing = ", ".join(model.name for model in models if model.vision)
    if seeing:
        return CheckFailedError("cannot_see", model=name, models=seeing)
    return CheckFailedError("nothing_sees", model=name)


def _failed(error: ModelServerError) -> CheckFailedError:
    """Return what a model server's error is in a form, where `detail` is what the server said."""
    if isinstance(error, ModelServerAuthenticationError):
        return KeyRefusedError("invalid_auth", detail=str(error))
    if isinstance(error.__cause__, ClientConnectorCertificateError):
        return ConnectionSettingsError("untrusted_certificate")
    if isinstance(error.__cause__, ClientSSLError):
        return CheckFailedError("tls_failed")
    key = next(key for kind, key in _ERRORS if isinstance(error, kind))
    return CheckFailedError(key, detail=str(error))
