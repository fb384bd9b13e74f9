"""The integration's actions: what they take, and whom they ask."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from homeassistant.auth.permissions.const import POLICY_CONTROL, POLICY_READ
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import ATTR_DEVICE_ID, Platform
from homeassistant.core import Context, HomeAssistant, ServiceCall, ServiceResponse, SupportsResponse, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError, Unauthorized, UnknownUser
from homeassistant.helpers import config_validation as cv, device_registry as dr, entity_registry as er
from homeassistant.util import dt as dt_util, slugify
from homeassistant.util.json import JsonValueType
import voluptuous as vol

from .analysis import Analysis, AnalysisRequest, device_id
from .const import DOMAIN
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator, loaded_devices
from .forgetting import async_forget, known_slugs
from .image_source import ImageSource, ImageSourceError, check_permission, entity_source, parse_source
from .model_server.names import same_model
from .result import has_slug
from .structure import structure
from .tasks import DEFAULT_PROMPT, DEFAULT_TEXT_PROMPT, TASKS

SERVICE_ANALYZE_IMAGE: Final = "analyze_image"
SERVICE_FORGET_IMAGE: Final = "forget_image"
SERVICE_GET_HISTORY: Final = "get_history"
SERVICE_LIST_MODELS: Final = "list_models"

ATTR_IMAGE_URL: Final = "image_url"
ATTR_IMAGE_ENTITY: Final = "image_entity"
ATTR_IMAGE_NAME: Final = "image_name"
ATTR_PROMPT: Final = "prompt"
ATTR_USE_TEXT_MODEL: Final = "use_text_model"
ATTR_TEXT_PROMPT: Final = "text_prompt"
ATTR_TASK: Final = "task"
ATTR_CONTEXT: Final = "context"
ATTR_STRUCTURE: Final = "structure"
ATTR_MODEL: Final = "model"
ATTR_CACHE: Final = "cache"
ATTR_WAIT: Final = "wait"
ATTR_ALL: Final = "all"
ATTR_SINCE: Final = "since"
ATTR_UNTIL: Final = "until"
ATTR_TEXT: Final = "text"
ATTR_LIMIT: Final = "limit"


# With the device's name before it, it has to fit into an entity id.
LONGEST_IMAGE_NAME: Final = 100


def _without_empty(value: Any) -> Any:
    """Leave out what the UI sends for a field, or for a row of a list, that nobody filled in."""
    if not isinstance(value, dict):
        return value
    filled = {
        key: [row for row in item if row not in (None, "")] if isinstance(item, list) else item
        for key, item in value.items()
    }
    return {key: item for key, item in filled.items() if item not in (None, "", [], {})}


_TEXTS = vol.All(cv.ensure_list, [cv.string])

ANALYZE_IMAGE_SCHEMA: Final = vol.All(
    _without_empty,
    cv.has_at_least_one_key(ATTR_IMAGE_URL, ATTR_IMAGE_ENTITY),
    vol.Schema(
        {
            vol.Optional(ATTR_IMAGE_URL, default=list): _TEXTS,
            vol.Optional(ATTR_IMAGE_ENTITY, default=list): vol.All(
                cv.ensure_list, [cv.entity_domain(["camera", "image"])]
            ),
            vol.Required(ATTR_IMAGE_NAME): vol.All(cv.string, vol.Length(max=LONGEST_IMAGE_NAME)),
            vol.Optional(ATTR_PROMPT): cv.string,
            vol.Optional(ATTR_DEVICE_ID): _TEXTS,
            vol.Optional(ATTR_USE_TEXT_MODEL, default=False): cv.boolean,
            vol.Optional(ATTR_TEXT_PROMPT, default=DEFAULT_TEXT_PROMPT): cv.string,
            vol.Optional(ATTR_TASK): vol.In(TASKS),
            vol.Optional(ATTR_CONTEXT): cv.string,
            vol.Optional(ATTR_STRUCTURE): structure,
            vol.Optional(ATTR_MODEL): cv.string,
            vol.Optional(ATTR_CACHE, default=True): cv.boolean,
            vol.Optional(ATTR_WAIT, default=True): cv.boolean,
        }
    ),
)


FORGET_IMAGE_SCHEMA: Final = vol.All(
    _without_empty,
    cv.has_at_least_one_key(ATTR_IMAGE_NAME, ATTR_ALL),
    vol.Schema(
        {
            vol.Optional(ATTR_DEVICE_ID): _TEXTS,
            vol.Exclusive(ATTR_IMAGE_NAME, "what"): cv.string,
            vol.Exclusive(ATTR_ALL, "what"): vol.All(cv.boolean, vol.IsTrue()),
        }
    ),
)

LIST_MODELS_SCHEMA: Final = vol.All(_without_empty, vol.Schema({vol.Optional(ATTR_DEVICE_ID): _TEXTS}))

GET_HISTORY_SCHEMA: Final = vol.All(
    _without_empty,
    vol.Schema(
        {
            vol.Optional(ATTR_DEVICE_ID): _TEXTS,
            vol.Optional(ATTR_IMAGE_NAME): cv.string,
            vol.Optional(ATTR_SINCE): vol.All(cv.datetime, dt_util.as_utc),
            vol.Optional(ATTR_UNTIL): vol.All(cv.datetime, dt_util.as_utc),
            vol.Optional(ATTR_TEXT): cv.string,
            vol.Optional(ATTR_LIMIT, default=50): vol.All(vol.Coerce(int), vol.Range(min=1, max=1000)),
        }
    ),
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    hass.services.async_register(
        DOMAIN,
        SERVICE_ANALYZE_IMAGE,
        _async_analyze_image,
        schema=ANALYZE_IMAGE_SCHEMA,
        supports_response=SupportsResponse.OPTIONAL,
        description_placeholders={"placeholder": "{description}"},
    )
    hass.services.async_register(DOMAIN, SERVICE_FORGET_IMAGE, _async_forget_image, schema=FORGET_IMAGE_SCHEMA)
    hass.services.async_register(
        DOMAIN,
        SERVICE_LIST_MODELS,
        _async_list_models,
        schema=LIST_MODELS_SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )
    hass.services.async_register(
        DOMAIN,
        SERVICE_GET_HISTORY,
        _async_get_history,
        schema=GET_HISTORY_SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )


async def _async_analyze_image(call: ServiceCall) -> ServiceResponse:
    hass, data = call.hass, call.data
    devices = [entry.runtime_data for entry in _entries(hass, data.get(ATTR_DEVICE_ID))]
    request = _analysis_request(hass, data)
    await check_permission(hass, call.context, request.sources)
    analysis = Analysis(hass, request, devices, call.context)
    if data[ATTR_WAIT]:
        return await analysis.async_run()
    await analysis.async_start()
    return {"queued": True, ATTR_IMAGE_NAME: request.image_name}


async def _async_forget_image(call: ServiceCall) -> None:
    hass, found = call.hass, list[tuple[OllamaVisionConfigEntry, str]]()
    wanted = None if ATTR_ALL in call.data else slugify(call.data[ATTR_IMAGE_NAME])
    for entry in _entries(hass, call.data.get(ATTR_DEVICE_ID)):
        may_control = await _permission(hass, call.context, entry.runtime_data, POLICY_CONTROL)
        for slug in known_slugs(hass, entry.runtime_data):
            if wanted in (None, slug):
                # Before anything is forgotten: a refusal leaves all as it is.
                if not may_control(slug):
                    raise Unauthorized(context=call.context, permission=POLICY_CONTROL)
                found.append((entry, slug))
    for entry, slug in found:
        await _forget(hass, entry, slug)
    if not found and wanted is not None:
        raise _invalid("unknown_image_name", image_name=call.data[ATTR_IMAGE_NAME])


async def _forget(hass: HomeAssistant, entry: OllamaVisionConfigEntry, slug: str) -> None:
    try:
        await async_forget(hass, entry.runtime_data, slug)
    except OSError as err:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="cannot_forget",
            translation_placeholders={"image_name": slug, "detail": err.strerror or type(err).__name__},
        ) from err


async def _async_list_models(call: ServiceCall) -> ServiceResponse:
    """Return what the servers say now, not what the last poll has found."""
    entries = _entries(call.hass, call.data.get(ATTR_DEVICE_ID))
    await asyncio.gather(*(entry.runtime_data.async_refresh() for entry in entries))
    return {"servers": [server for entry in entries for server in _servers(call.hass, entry.runtime_data)]}


def _servers(hass: HomeAssistant, coordinator: OllamaVisionCoordinator) -> list[JsonValueType]:
    return [
        {
            ATTR_DEVICE_ID: device_id(hass, coordinator),
            "role": role,
            "server": str(connection.server.url),
            "reachable": coordinator.data[role].reachable,
            "version": coordinator.data[role].version,
            "models": [
                {
                    "name": model.name,
                    "size": model.size,
                    "vision": model.vision,
                    "loaded": model.loaded,
                    "in_use": same_model(model.name, coordinator.model(role)),
                }
                for model in coordinator.data[role].models
            ],
        }
        for role, connection in coordinator.connections.items()
    ]


async def _async_get_history(call: ServiceCall) -> ServiceResponse:
    filters = {key: call.data.get(key) for key in (ATTR_IMAGE_NAME, ATTR_SINCE, ATTR_UNTIL, ATTR_TEXT, ATTR_LIMIT)}
    results: list[dict[str, Any]] = []
    for entry in _entries(call.hass, call.data.get(ATTR_DEVICE_ID)):
        coordinator = entry.runtime_data
        may_read = await _permission(call.hass, call.context, coordinator, POLICY_READ)
        results += [
            result.as_event(device_id=device_id(call.hass, coordinator))
            for result in await coordinator.history.async_results(**filters)
            if may_read(result.slug)
        ]
    results.sort(key=lambda result: datetime.fromisoformat(result["timestamp"]), reverse=True)
    newest: list[JsonValueType] = [*results[: call.data[ATTR_LIMIT]]]
    return {"results": newest}


async def _permission(
    hass: HomeAssistant, context: Context, coordinator: OllamaVisionCoordinator, policy: str
) -> Callable[[str], bool]:
    """Return what tells of a slug whether the caller has a permission on its sensor; an automation has all."""
    if context.user_id is None:
        return lambda _: True
    if (user := await hass.auth.async_get_user(context.user_id)) is None:
        raise UnknownUser(context=context)
    registry, entry_id = er.async_get(hass), coordinator.config_entry.entry_id

    def has_permission(slug: str) -> bool:
        entity_id = registry.async_get_entity_id(Platform.SENSOR, DOMAIN, f"{entry_id}_{slug}")
        return user.permissions.check_entity(entity_id or "", policy)

    return has_permission


def _analysis_request(hass: HomeAssistant, data: dict[str, Any]) -> AnalysisRequest:
    if not has_slug(data[ATTR_IMAGE_NAME]):
        raise _invalid("invalid_image_name", image_name=data[ATTR_IMAGE_NAME])
    task = TASKS.get(data.get(ATTR_TASK, ""))
    question = data.get(ATTR_PROMPT) or (task.prompt if task else DEFAULT_PROMPT)
    # A prompt of one's own asks something else than the task's structure answers.
    shape = task if ATTR_PROMPT not in data else None
    return AnalysisRequest(
        image_name=data[ATTR_IMAGE_NAME],
        sources=_sources(hass, data),
        prompt=f"{data[ATTR_CONTEXT]}\n\n{question}" if ATTR_CONTEXT in data else question,
        text_prompt=data[ATTR_TEXT_PROMPT],
        use_text_model=data[ATTR_USE_TEXT_MODEL],
        structure=data.get(ATTR_STRUCTURE) or (shape.structure if shape else None),
        plain_field=shape.plain if shape and ATTR_STRUCTURE not in data else None,
        fine_detail=bool(task and task.fine_detail),
        model=data.get(ATTR_MODEL),
        fresh=not data[ATTR_CACHE],
    )


def _sources(hass: HomeAssistant, data: dict[str, Any]) -> tuple[ImageSource, ...]:
    """Return the pictures in the order of the question: the URLs, then the entities."""
    try:
        sources = [parse_source(hass, url) for url in data[ATTR_IMAGE_URL]]
    except ImageSourceError as err:
        raise _invalid(err.translation_key, **err.placeholders) from err
    return (*sources, *(entity_source(entity_id) for entity_id in data[ATTR_IMAGE_ENTITY]))


def _entries(hass: HomeAssistant, device_ids: Sequence[str] | None) -> list[OllamaVisionConfigEntry]:
    """Return the devices to ask, in order: those named, else all in the order of their creation."""
    if device_ids is not None:
        return [_entry_of_device(hass, device_id) for device_id in device_ids]
    if not (devices := loaded_devices(hass)):
        raise _invalid("no_device")
    return [device.config_entry for device in devices]


def _entry_of_device(hass: HomeAssistant, device_id: str) -> OllamaVisionConfigEntry:
    device = dr.async_get(hass).async_get(device_id)
    entry = hass.config_entries.async_get_entry(device.config_entry_id) if device and device.config_entry_id else None
    if entry is None or entry.domain != DOMAIN:
        raise _invalid("unknown_device", device_id=device_id)
    if entry.state is not ConfigEntryState.LOADED:
        raise _invalid("device_not_loaded", device=entry.title)
    return entry


def _invalid(key: str, **placeholders: str) -> ServiceValidationError:
    return ServiceValidationError(translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders)
