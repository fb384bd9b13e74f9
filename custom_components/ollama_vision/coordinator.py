"""A device: its model servers, their health and models, and what it counts."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
import logging
from typing import Any, Final, Self, cast, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryError
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util.hass_dict import HassKey

from .answer_cache import AnswerCache
from .const import (
    CONF_ANALYSES_PER_MINUTE,
    CONF_CACHE_MINUTES,
    CONF_CONCURRENCY,
    CONF_FORGET_AFTER_DAYS,
    CONF_HISTORY_DAYS,
    CONF_HISTORY_MEGABYTES,
    CONF_HISTORY_RESULTS,
    CONF_SILENCE_FIRST_TOKEN,
    CONF_SILENCE_NEXT_TOKEN,
    DEFAULT_CACHE_MINUTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_FORGET_AFTER_DAYS,
    DEFAULT_HISTORY_DAYS,
    DEFAULT_HISTORY_MEGABYTES,
    DEFAULT_HISTORY_RESULTS,
    DEFAULT_SILENCE_FIRST_TOKEN,
    DEFAULT_SILENCE_NEXT_TOKEN,
    DOMAIN,
    Role,
)
from .history import History, HistoryLimits
from .model_server.address import InvalidAddressError
from .model_server.errors import (
    ModelServerAuthenticationError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
)
from .model_server.keep_alive import parse_keep_alive
from .model_server.models import Answer, Api, KeepAlive, Model, ModelManager, ModelServer, Picture, Question, Silence
from .model_server.names import same_model
from .request_queue import RateLimit, RequestQueue
from .server_settings import ServerSettings, create_server, roles_of

type OllamaVisionConfigEntry = ConfigEntry[OllamaVisionCoordinator]

_LOGGER = logging.getLogger(__name__)

POLL_INTERVAL: Final = timedelta(minutes=1)
# A poll is small talk: a server that needs longer for it is no use to a waiting automation.
POLL_SECONDS: Final = 10

_QUEUES: HassKey[dict[str, RequestQueue]] = HassKey(f"{DOMAIN}_queues")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """What is known of a server; version and models are the last known ones while it is away.

    `polled` tells whether it has ever said which models it has.
    """

    reachable: bool = True
    polled: bool = False
    version: str | None = None
    models: tuple[Model, ...] = ()


@dataclass(slots=True)
class Statistics:
    """What a device has done since it was loaded; times in seconds, None before the first analysis."""

    analyses: int = 0
    failures: int = 0
    processing_time: float | None = None
    waiting_time: float | None = None
    words_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """One of a device's model servers and the line of requests to it."""

    server: ModelServer
    queue: RequestQueue


class OllamaVisionCoordinator(DataUpdateCoordinator[dict[Role, ServerHealth]]):
    """Asks the device's servers how they are, and holds what lives as long as its entry is loaded."""

    config_entry: OllamaVisionConfigEntry

    @classmethod
    async def async_create(cls, hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> Self:
        """Return a device's coordinator with its clients; nothing is asked of a server yet.

        Raises ConfigEntryError where the entry has no address: version 1.0 took whatever was typed.
        """
        servers: dict[Role, ModelServer] = {}
        for role in roles_of(entry.data):
            settings = ServerSettings.from_entry_data(entry.data, role)
            try:
                servers[role] = await create_server(hass, settings)
            except InvalidAddressError as err:
                raise ConfigEntryError(
                    translation_domain=DOMAIN,
                    translation_key="invalid_host",
                    translation_placeholders={"host": settings.label},
                ) from err
        return cls(hass, entry, servers)

    def __init__(
        self, hass: HomeAssistant, entry: OllamaVisionConfigEntry, servers: Mapping[Role, ModelServer]
    ) -> None:
        """Join the servers' queues; the entry's options are read once, its models each time."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=POLL_INTERVAL,
            always_update=False,
        )
        options = entry.options
        self.history = History(
            hass,
            entry.entry_id,
            HistoryLimits(
                days=options.get(CONF_HISTORY_DAYS, DEFAULT_HISTORY_DAYS),
                results=options.get(CONF_HISTORY_RESULTS, DEFAULT_HISTORY_RESULTS),
                megabytes=options.get(CONF_HISTORY_MEGABYTES, DEFAULT_HISTORY_MEGABYTES),
                forget_after_days=options.get(CONF_FORGET_AFTER_DAYS, DEFAULT_FORGET_AFTER_DAYS),
            ),
        )
        self.answers: AnswerCache[Answer] = AnswerCache(
            max_age=options.get(CONF_CACHE_MINUTES, DEFAULT_CACHE_MINUTES) * 60
        )
        self.rate_limit = RateLimit(options.get(CONF_ANALYSES_PER_MINUTE))
        self.silence = Silence(
            first_token=options.get(CONF_SILENCE_FIRST_TOKEN, DEFAULT_SILENCE_FIRST_TOKEN),
            next_token=options.get(CONF_SILENCE_NEXT_TOKEN, DEFAULT_SILENCE_NEXT_TOKEN),
        )
        self.statistics = Statistics()
        self.platforms: list[Platform] = []
        self.connections = {role: self._connect(server) for role, server in servers.items()}
        self.data = dict.fromkeys(servers, ServerHealth())
        self._warming: set[str] = set()
        entry.async_on_unload(hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, self._end_requests))
        entry.async_on_unload(self._end_requests)

    def _connect(self, server: ModelServer) -> Connection:
        queue = self.hass.data.setdefault(_QUEUES, {}).setdefault(str(server.url), RequestQueue())
        queue.attach(
            self.config_entry.entry_id, int(self.config_entry.options.get(CONF_CONCURRENCY, DEFAULT_CONCURRENCY))
        )
        return Connection(server, queue)

    @callback
    def _end_requests(self, _: Event | None = None) -> None:
        """End what waits and what is under way."""
        for connection in self.connections.values():
            connection.queue.detach(self.config_entry.entry_id)

    def model(self, role: Role) -> str:
        """Return the model that plays the role now; a select can change it while the entry is loaded."""
        return str(self.config_entry.data[f"{role}_model"])

    def keep_alive(self, role: Role) -> KeepAlive:
        """Return how long the role's model stays loaded after an answer."""
        return parse_keep_alive(self.config_entry.data.get(f"{role}_keep_alive", "-1"))

    @callback
    def async_choose_model(self, role: Role, model: str) -> None:
        """Use another model from now on, and keep that choice."""
        self.hass.config_entries.async_update_entry(
            self.config_entry, data=self.config_entry.data | {f"{role}_model": model}
        )
        self.async_update_listeners()

    def question(
        self,
        role: Role,
        prompt: str,
        *,
        model: str | None = None,
        pictures: tuple[Picture, ...] = (),
        structure: dict[str, Any] | None = None,
    ) -> Question:
        """Return a question to one of the device's models, with what its options say."""
        return Question(
            model=model or self.model(role),
            prompt=prompt,
            pictures=pictures,
            structure=structure,
            keep_alive=self.keep_alive(role),
            num_ctx=self._whole_option(f"{role}_num_ctx"),
            max_tokens=self._whole_option(f"{role}_max_tokens"),
            temperature=self.config_entry.options.get(f"{role}_temperature"),
        )

    def _whole_option(self, key: str) -> int | None:
        """Return an option that a number box, which knows no whole numbers, was filled with."""
        value = self.config_entry.options.get(key)
        return None if value is None else int(value)

    def known_model(self, role: Role, name: str) -> Model | None:
        """Return what the last poll said of a model."""
        return next((model for model in self.data[role].models if same_model(model.name, name)), None)

    @callback
    def async_warm_up(self, role: Role, model: str) -> None:
        """Have an Ollama server load a model while there is no question for it yet, unless it is loaded."""
        server, known = self.connections[role].server, self.known_model(role, model)
        if server.api is not Api.OLLAMA or model in self._warming or (known and known.loaded):
            return
        if not self.keep_alive(role):
            return  # where no question follows, nothing would unload it again
        self._warming.add(model)
        self.config_entry.async_create_background_task(
            self.hass, self._warm_up(role, cast("ModelManager", server), model), f"{DOMAIN} load {model}"
        )

    async def _warm_up(self, role: Role, server: ModelManager, model: str) -> None:
        try:
            await self.async_load(role, server, model)
        except ModelServerError:
            _LOGGER.debug("Loading %s ahead failed; its question will say why", model)
        finally:
            self._warming.discard(model)

    async def async_load(self, role: Role, server: ModelManager, model: str) -> None:
        """Have a server load a model as the questions of a role want it, or else it would be loaded a second time."""
        await server.load(model, self.keep_alive(role), self._whole_option(f"{role}_num_ctx"))

    @callback
    def async_report_answer(self, role: Role, model: str) -> None:
        """Take it from an answer that the server is there and the model loaded, before the next poll tells."""
        loaded = bool(self.keep_alive(role))
        models = tuple(
            replace(known, loaded=loaded) if same_model(known.name, model) and known.loaded is not None else known
            for known in self.data[role].models
        )
        self._async_update_health(role, replace(self.data[role], reachable=True, models=models))

    @callback
    def async_report_error(self, role: Role, error: ModelServerError) -> None:
        """Take it from a failed question how the server is, before the next poll tells."""
        if isinstance(error, ModelServerAuthenticationError):
            self.config_entry.async_start_reauth(self.hass)
        if isinstance(error, ModelServerTimeoutError):
            return  # a model that is slow says nothing about its server
        reachable = not isinstance(error, ModelServerConnectionError | ModelServerAuthenticationError)
        self._async_update_health(role, replace(self.data[role], reachable=reachable), error)

    @callback
    def _async_update_health(self, role: Role, health: ServerHealth, error: ModelServerError | None = None) -> None:
        if health != self.data[role]:
            self.data = {**self.data, role: self._seen(role, health, error)}
            self.async_update_listeners()

    @override
    async def _async_update_data(self) -> dict[Role, ServerHealth]:
        """Poll all servers at once; one that is away is a fact and no failure."""
        roles = list(self.connections)
        return dict(zip(roles, await asyncio.gather(*map(self._poll, roles)), strict=True))

    async def _poll(self, role: Role) -> ServerHealth:
        server, last = self.connections[role].server, self.data[role]
        try:
            async with asyncio.timeout(POLL_SECONDS):
                version = await server.version()
                models = await server.models()
        except (ModelServerError, TimeoutError) as err:
            if isinstance(err, ModelServerAuthenticationError):
                self.config_entry.async_start_reauth(self.hass)
            return self._seen(role, replace(last, reachable=False), err)
        return self._seen(role, ServerHealth(polled=True, version=version, models=tuple(models)), None)

    def _seen(self, role: Role, health: ServerHealth, error: Exception | None) -> ServerHealth:
        """Log one line when a server goes and one when it comes back."""
        if health.reachable != self.data[role].reachable:
            where = f"The {role} model server of {self.name} at {self.connections[role].server.url}"
            if health.reachable:
                _LOGGER.info("%s is back", where)
            else:
                _LOGGER.warning("%s cannot be reached: %s", where, str(error) or "no answer")  # a timeout says nothing
        return health


def loaded_devices(hass: HomeAssistant) -> list[OllamaVisionCoordinator]:
    """Return the devices that are loaded, in the order of their creation, which is the order of preference."""
    entries: list[OllamaVisionConfigEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
    return [entry.runtime_data for entry in sorted(entries, key=lambda entry: entry.created_at)]
