"""A model that its server no longer has: said as an issue, mended by a download or by another choice."""

import asyncio
from typing import Any, cast

from homeassistant.components.repairs import RepairsFlow
from homeassistant.components.repairs.models import RepairsFlowResult
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.selector import SelectSelector, SelectSelectorConfig, SelectSelectorMode
import voluptuous as vol

from .const import DOMAIN, Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .model_server.models import Api, ModelManager
from .server_check import CheckFailedError, pull_model

MODEL = "model"


@callback
def async_watch_models(hass: HomeAssistant, entry: OllamaVisionConfigEntry) -> None:
    """Raise an issue while a server is there and lacks a model of the device; take it back when it has it."""
    coordinator = entry.runtime_data

    @callback
    def check() -> None:
        for role, health in coordinator.data.items():
            if not (health.reachable and health.polled):
                continue
            issue_id, model = f"model_missing_{entry.entry_id}_{role}", coordinator.model(role)
            if coordinator.known_model(role, model):
                ir.async_delete_issue(hass, DOMAIN, issue_id)
                continue
            ir.async_create_issue(
                hass,
                DOMAIN,
                issue_id,
                is_fixable=True,
                severity=ir.IssueSeverity.ERROR,
                translation_key="model_missing",
                translation_placeholders=_placeholders(coordinator, role),
                data={"entry_id": entry.entry_id, "role": role, **_placeholders(coordinator, role)},
            )

    @callback
    def forget_issues() -> None:
        for role in Role:
            ir.async_delete_issue(hass, DOMAIN, f"model_missing_{entry.entry_id}_{role}")

    check()
    entry.async_on_unload(coordinator.async_add_listener(check))
    entry.async_on_unload(forget_issues)


def _placeholders(coordinator: OllamaVisionCoordinator, role: Role) -> dict[str, str]:
    return {
        "device": coordinator.name,
        "model": coordinator.model(role),
        "server": str(coordinator.connections[role].server.url),
    }


async def async_create_fix_flow(hass: HomeAssistant, _: str, data: dict[str, Any]) -> RepairsFlow:
    """Return the flow that mends a missing model; an entry that is unloaded takes its issues with it."""
    entry: OllamaVisionConfigEntry = hass.config_entries.async_get_known_entry(data["entry_id"])
    return MissingModelFlow(entry.runtime_data, Role(data["role"]))


class MissingModelFlow(RepairsFlow):
    """Has the server download the model, or takes another one."""

    _pulling: asyncio.Task[None]

    def __init__(self, coordinator: OllamaVisionCoordinator, role: Role) -> None:
        """Mend the model of one role."""
        self._coordinator = coordinator
        self._role = role

    async def async_step_init(self, _: dict[str, str] | None = None) -> RepairsFlowResult:
        """Ask what to do; only Ollama can download."""
        if self._coordinator.connections[self._role].server.api is not Api.OLLAMA:
            return await self.async_step_choose()
        return self.async_show_menu(
            step_id="init",
            menu_options=["pull", "choose"],
            description_placeholders=_placeholders(self._coordinator, self._role),
        )

    async def async_step_choose(self, user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Take another model of the server."""
        coordinator, role = self._coordinator, self._role
        if user_input is not None:
            coordinator.async_choose_model(role, user_input[MODEL])
            return self.async_create_entry(data={})
        models = [
            model.name for model in coordinator.data[role].models if role is Role.TEXT or model.vision is not False
        ]
        if not models:
            return self.async_abort(
                reason="nothing_to_choose", description_placeholders=_placeholders(coordinator, role)
            )
        selector = SelectSelector(SelectSelectorConfig(options=models, mode=SelectSelectorMode.DROPDOWN))
        return self.async_show_form(
            step_id="choose",
            data_schema=vol.Schema({vol.Required(MODEL): selector}),
            description_placeholders=_placeholders(coordinator, role),
        )

    async def async_step_pull(self, _: dict[str, str] | None = None) -> RepairsFlowResult:
        """Download the model, and show how far that is; Home Assistant cancels the task with its flow."""
        coordinator, role = self._coordinator, self._role
        if not hasattr(self, "_pulling"):
            server = cast("ModelManager", coordinator.connections[role].server)
            self._pulling = self.hass.async_create_background_task(
                pull_model(server, coordinator.model(role), self.async_update_progress), f"{DOMAIN} pull"
            )
        if self._pulling.done():
            return self.async_show_progress_done(next_step_id="pulled")
        return self.async_show_progress(
            step_id="pull",
            progress_action="pull",
            progress_task=self._pulling,
            description_placeholders=_placeholders(coordinator, role),
        )

    async def async_step_pulled(self, _: dict[str, str] | None = None) -> RepairsFlowResult:
        """End with the model there, or with what the server said."""
        try:
            self._pulling.result()
        except CheckFailedError as err:
            return self.async_abort(reason=err.key, description_placeholders=err.placeholders)
        await self._coordinator.async_refresh()
        return self.async_create_entry(data={})
