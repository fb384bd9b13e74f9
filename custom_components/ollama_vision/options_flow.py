"""The options of a device: how pictures and questions are handled, what is kept, and how its models answer."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import UnitOfInformation, UnitOfTime
from homeassistant.data_entry_flow import section
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import (
    EntitySelector,
    EntitySelectorConfig,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
)
import voluptuous as vol

from .const import (
    CONF_ANALYSES_PER_MINUTE,
    CONF_CACHE_MINUTES,
    CONF_CONCURRENCY,
    CONF_FALLBACK_AI_TASK,
    CONF_FORGET_AFTER_DAYS,
    CONF_HISTORY_DAYS,
    CONF_HISTORY_MEGABYTES,
    CONF_HISTORY_RESULTS,
    CONF_PICTURE_SIZE,
    CONF_SILENCE_FIRST_TOKEN,
    CONF_SILENCE_NEXT_TOKEN,
    DEFAULT_ANALYSES_PER_MINUTE,
    DEFAULT_CACHE_MINUTES,
    DEFAULT_CONCURRENCY,
    DEFAULT_FORGET_AFTER_DAYS,
    DEFAULT_HISTORY_DAYS,
    DEFAULT_HISTORY_MEGABYTES,
    DEFAULT_HISTORY_RESULTS,
    DEFAULT_PICTURE_SIZE,
    DEFAULT_SILENCE_FIRST_TOKEN,
    DEFAULT_SILENCE_NEXT_TOKEN,
    DOMAIN,
)
from .model_server.models import Api
from .server_settings import ServerSettings, roles_of

AI_TASK: Final = "ai_task"


def _number(low: float, high: float, unit: str | None = None, step: float = 1) -> NumberSelector:
    config = NumberSelectorConfig(min=low, max=high, step=step, mode=NumberSelectorMode.BOX)
    if unit:
        config["unit_of_measurement"] = unit
    return NumberSelector(config)


# The sections that every device has. A field that is left out gets its default, which is what the README promises.
_LIMITS: Final[dict[str, dict[vol.Marker, NumberSelector]]] = {
    "asking": {
        vol.Required(CONF_PICTURE_SIZE, default=DEFAULT_PICTURE_SIZE): _number(128, 4096, "px"),
        vol.Required(CONF_CONCURRENCY, default=DEFAULT_CONCURRENCY): _number(1, 16),
        vol.Required(CONF_SILENCE_FIRST_TOKEN, default=DEFAULT_SILENCE_FIRST_TOKEN): _number(
            1, 3600, UnitOfTime.SECONDS
        ),
        vol.Required(CONF_SILENCE_NEXT_TOKEN, default=DEFAULT_SILENCE_NEXT_TOKEN): _number(1, 3600, UnitOfTime.SECONDS),
        vol.Required(CONF_CACHE_MINUTES, default=DEFAULT_CACHE_MINUTES): _number(0, 1440, UnitOfTime.MINUTES),
        vol.Required(CONF_ANALYSES_PER_MINUTE, default=DEFAULT_ANALYSES_PER_MINUTE): _number(0, 1000),
    },
    "keeping": {
        vol.Required(CONF_FORGET_AFTER_DAYS, default=DEFAULT_FORGET_AFTER_DAYS): _number(0, 3650, UnitOfTime.DAYS),
        vol.Required(CONF_HISTORY_DAYS, default=DEFAULT_HISTORY_DAYS): _number(0, 3650, UnitOfTime.DAYS),
        vol.Required(CONF_HISTORY_RESULTS, default=DEFAULT_HISTORY_RESULTS): _number(0, 100_000),
        vol.Required(CONF_HISTORY_MEGABYTES, default=DEFAULT_HISTORY_MEGABYTES): _number(
            0, 10_000, UnitOfInformation.MEGABYTES
        ),
    },
}


class OllamaVisionOptionsFlow(OptionsFlowWithReload):
    """Asks for a device's options, which all have a default or are the server's own where nothing is said."""

    async def async_step_init(self, user_input: dict[str, dict[str, Any]] | None = None) -> ConfigFlowResult:
        """Ask for everything at once, in sections."""
        if user_input is not None:
            return self.async_create_entry(data=_options(user_input))
        schema = self._schema()
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                schema, dict.fromkeys(map(str, schema.schema), self.config_entry.options)
            ),
        )

    def _schema(self) -> vol.Schema:
        sections: dict[str, dict[vol.Marker, Any]] = dict(_LIMITS)
        for role in roles_of(self.config_entry.data):
            sections[f"{role}_answers"] = {
                vol.Optional(f"{role}_max_tokens"): _number(1, 100_000),
                vol.Optional(f"{role}_temperature"): _number(0, 2, step=0.05),
            }
            if ServerSettings.from_entry_data(self.config_entry.data, role).api is Api.OLLAMA:
                # Only Ollama takes it with a question; the others are started with theirs.
                sections[f"{role}_answers"][vol.Optional(f"{role}_num_ctx")] = _number(256, 1_000_000)
        sections["fallback"] = {vol.Optional(CONF_FALLBACK_AI_TASK): self._ai_task_selector()}
        return vol.Schema(
            {
                vol.Optional(name): section(vol.Schema(fields), {"collapsed": name != "asking"})
                for name, fields in sections.items()
            }
        )

    def _ai_task_selector(self) -> EntitySelector:
        """Offer every AI task entity but this integration's own, which would ask in a circle."""
        own = [
            entity.entity_id
            for entity in er.async_get(self.hass).entities.values()
            if entity.platform == DOMAIN and entity.domain == AI_TASK
        ]
        return EntitySelector(EntitySelectorConfig(domain=AI_TASK, exclude_entities=own))


def _options(typed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sections' fields side by side; a selector makes every number a float, and most are counts."""
    return {
        name: int(value) if isinstance(value, float) and not name.endswith("temperature") else value
        for fields in typed.values()
        for name, value in fields.items()
    }
