"""Where an entry says its model servers are, and the clients made from that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from homeassistant.core import HomeAssistant
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from .const import CONF_TEXT_MODEL_ENABLED, CONF_VISION_HOST, DEFAULT_PORT, Role
from .model_server.address import InvalidAddressError, ServerAddress, parse_address
from .model_server.factory import connect
from .model_server.models import Api, ModelServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where a model server is and how it is spoken to; `api` is None where the server is to be asked for it."""

    host: str
    port: int = DEFAULT_PORT
    api: Api | None = None
    api_key: str | None = field(default=None, repr=False)
    verify_ssl: bool = True

    @classmethod
    def from_entry_data(cls, data: Mapping[str, Any], role: Role) -> Self:
        """Read the settings of one role; a text host that is left out is the vision host."""
        api = data.get(f"{role}_api")
        return cls(
            host=data.get(f"{role}_host") or data[CONF_VISION_HOST],
            port=data.get(f"{role}_port") or DEFAULT_PORT,
            api=Api(api) if api in list(Api) else None,
            api_key=data.get(f"{role}_api_key"),
            verify_ssl=data.get(f"{role}_verify_ssl", True),
        )

    @property
    def address(self) -> ServerAddress:
        """Return the server's address; raise InvalidAddressError where the host is none."""
        return parse_address(self.host, self.port)

    @property
    def label(self) -> str:
        """Return the address for people to read, without credentials, as it was typed where it is none."""
        try:
            return str(self.address.url)
        except InvalidAddressError:
            return self.host.rpartition("@")[2]


def roles_of(data: Mapping[str, Any]) -> list[Role]:
    """Return what an entry has models for."""
    return [Role.VISION, Role.TEXT] if data.get(CONF_TEXT_MODEL_ENABLED) else [Role.VISION]


async def create_server(hass: HomeAssistant, settings: ServerSettings) -> ModelServer:
    """Return a client on Home Assistant's session.

    Only where the settings leave the protocol open is the server asked; raises a ModelServerError where it does not
    tell. Raises InvalidAddressError where the host is no address.
    """
    session = async_get_clientsession(hass, settings.verify_ssl)
    return await connect(session, settings.address, api=settings.api, api_key=settings.api_key)
