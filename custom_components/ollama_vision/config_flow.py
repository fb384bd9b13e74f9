"""Adds a device, changes it and gives it new keys, in the user interface."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast, override

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry, ConfigFlow, ConfigFlowResult, OptionsFlow
from homeassistant.const import CONF_NAME
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers.selector import BooleanSelector
import voluptuous as vol

from .const import CONF_TEXT_HOST, CONF_TEXT_MODEL_ENABLED, CONF_VISION_HOST, DEFAULT_KEEP_ALIVE, DOMAIN, Role
from .flow_forms import (
    API_KEY,
    CONNECTION,
    entry_data,
    keys_schema,
    keys_values,
    model_schema,
    model_values,
    server_schema,
    server_values,
    with_key,
    with_model,
    with_server,
)
from .model_server.keep_alive import parse_keep_alive
from .model_server.models import Api, Model, ModelManager, ModelServer
from .options_flow import OllamaVisionOptionsFlow
from .server_check import (
    CheckFailedError,
    ConnectionSettingsError,
    KeyRefusedError,
    ModelMissingError,
    check_model,
    check_server,
    pull_model,
    same_device,
)
from .server_settings import ServerSettings, roles_of

PULL: Final = "pull"

_SERVER_STEPS: Final = {Role.VISION: "user", Role.TEXT: "text_server"}
_MODEL_STEPS: Final = {Role.VISION: "vision_model", Role.TEXT: "text_model"}


class OllamaVisionConfigFlow(ConfigFlow, domain=DOMAIN):
    """Asks for a server and its model, and where wanted for a second server and its model.

    What is typed goes into a draft of the entry's data. Only a draft that has passed every test is saved, so a flow
    that is closed half-way changes nothing.
    """

    VERSION = 2

    _pulling: asyncio.Task[None]
    _pulled_for: Role
    _asked_for_keys: list[Role]

    def __init__(self) -> None:
        self._draft: dict[str, Any] = {}
        self._servers: dict[Role, ModelServer] = {}
        self._models: dict[Role, list[Model]] = {}

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the flow that changes an entry's options."""
        return OllamaVisionOptionsFlow()

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the name and the vision server."""
        return await self._async_server_step(Role.VISION, user_input)

    async def async_step_vision_model(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the vision model."""
        return await self._async_model_step(Role.VISION, user_input)

    async def async_step_text_server(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the text model's server."""
        return await self._async_server_step(Role.TEXT, user_input)

    async def async_step_text_model(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the text model."""
        return await self._async_model_step(Role.TEXT, user_input)

    async def async_step_reconfigure(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go through all steps again, filled with what the entry says."""
        self._draft = dict(self._get_reconfigure_entry().data)
        if self._draft.get(CONF_TEXT_HOST) == self._draft[CONF_VISION_HOST]:
            del self._draft[CONF_TEXT_HOST]  # left out, it follows a new vision host
        return await self.async_step_user()

    async def _async_server_step(self, role: Role, typed: dict[str, Any] | None) -> ConfigFlowResult:
        if typed is None:
            return self._server_form(role)
        self._draft = with_server(role, self._draft, typed)
        try:
            server, models = await check_server(self.hass, ServerSettings.from_entry_data(self._draft, role))
        except CheckFailedError as err:
            return self._server_form(role, err)
        self._draft[f"{role}_api"] = server.api.value
        self._servers[role], self._models[role] = server, models
        return self._model_form(role)

    def _server_form(self, role: Role, error: CheckFailedError | None = None) -> ConfigFlowResult:
        # A folded section's fields show no error themselves: it is shown at the section, which is open then.
        at_section = isinstance(error, ConnectionSettingsError)
        return self._form(
            _SERVER_STEPS[role],
            server_schema(role, unfolded=at_section),
            server_values(role, self._draft),
            CONNECTION if at_section else f"{role}_host",
            error,
        )

    async def _async_model_step(self, role: Role, typed: dict[str, Any] | None) -> ConfigFlowResult:
        if typed is None:
            return self._model_form(role)
        self._draft = with_model(role, self._draft, typed)
        try:
            parse_keep_alive(self._draft.get(f"{role}_keep_alive", DEFAULT_KEEP_ALIVE))
        except ValueError:
            return self._model_form(role, CheckFailedError("invalid_keep_alive"), field="keep_alive")
        return await self._async_use_model(role)

    async def _async_use_model(self, role: Role) -> ConfigFlowResult:
        """Go on with the model in the draft, by way of a pull where the server lacks it and can get it."""
        server = self._servers[role]
        try:
            await check_model(server, self._draft[f"{role}_model"], must_see=role is Role.VISION)
        except ModelMissingError as err:
            if server.api is not Api.OLLAMA:
                return self._model_form(role, err)
            self._pulled_for = role
            return await self.async_step_pull()
        except CheckFailedError as err:
            return self._model_form(role, err)
        if role is Role.VISION and self._draft[CONF_TEXT_MODEL_ENABLED]:
            return self._server_form(Role.TEXT)
        return self._save()

    def _model_form(
        self, role: Role, error: CheckFailedError | None = None, *, field: str = "model"
    ) -> ConfigFlowResult:
        api, models = self._servers[role].api, self._models[role]
        return self._form(
            _MODEL_STEPS[role],
            model_schema(role, api, models),
            model_values(role, api, models, self._draft),
            f"{role}_{field}",
            error,
            server=str(self._servers[role].url),
        )

    def _form(
        self,
        step_id: str,
        schema: vol.Schema,
        values: Mapping[str, Any],
        field: str,
        error: CheckFailedError | None,
        **placeholders: str,
    ) -> ConfigFlowResult:
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, values),
            errors={field: error.key} if error else None,
            description_placeholders=placeholders | (error.placeholders if error else {}),
        )

    async def async_step_pull(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether the server shall download the model that it lacks."""
        role = self._pulled_for
        if user_input is None:
            return self.async_show_form(
                step_id="pull",
                data_schema=vol.Schema({vol.Required(PULL, default=True): BooleanSelector()}),
                description_placeholders=self._pull_placeholders(),
            )
        if not user_input[PULL]:
            return self._model_form(role)
        self._pulling = self.hass.async_create_background_task(
            pull_model(
                cast("ModelManager", self._servers[role]), self._draft[f"{role}_model"], self.async_update_progress
            ),
            f"{DOMAIN} pull",
        )
        return await self.async_step_pulling()

    async def async_step_pulling(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show how far the download is; Home Assistant cancels its task when the flow is closed."""
        if self._pulling.done():
            return self.async_show_progress_done(next_step_id="pulled")
        return self.async_show_progress(
            step_id="pulling",
            progress_action="pull",
            progress_task=self._pulling,
            description_placeholders=self._pull_placeholders(),
        )

    async def async_step_pulled(self, _: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go on with the downloaded model."""
        try:
            self._pulling.result()
        except CheckFailedError as err:
            return self._model_form(self._pulled_for, err)
        return await self._async_use_model(self._pulled_for)

    def _pull_placeholders(self) -> dict[str, str]:
        role = self._pulled_for
        return {"model": self._draft[f"{role}_model"], "server": str(self._servers[role].url)}

    def _save(self) -> ConfigFlowResult:
        data = entry_data(self._draft)
        if self.source != SOURCE_RECONFIGURE:
            self._abort_if_another(data)
            return self.async_create_entry(title=data[CONF_NAME], data=data)
        entry = self._get_reconfigure_entry()
        if not same_device(data, entry.data):  # two alike are allowed to stay so: version 1.0 could make them
            self._abort_if_another(data)
        # A title of the user's own stays when only something else has changed.
        title = entry.title if data[CONF_NAME] == entry.data[CONF_NAME] else data[CONF_NAME]
        return self.async_update_reload_and_abort(entry, title=title, data=data)

    def _abort_if_another(self, data: Mapping[str, Any]) -> None:
        """End the flow where there is such a device; an entry that is disabled since version 1.0 cannot be compared."""
        for entry in self._async_current_entries():
            if entry.version == self.VERSION and same_device(data, entry.data):
                raise AbortFlow("already_configured")

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """Find out which servers refuse their key; where none does any more, each may be given another."""
        self._draft = dict(entry_data)
        roles = roles_of(entry_data)
        failures = await self._async_key_failures(roles)
        refused = [role for role in roles if isinstance(failures.get(role), KeyRefusedError)]
        for role in refused:
            self._draft.pop(f"{role}_{API_KEY}", None)
        self._asked_for_keys = refused or roles
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the new keys."""
        roles = self._asked_for_keys
        failures: dict[Role, CheckFailedError] = {}
        if user_input is not None:
            for role in roles:
                self._draft = with_key(role, self._draft, user_input.get(f"{role}_{API_KEY}", ""))
            failures = await self._async_key_failures(roles)
            if not failures:
                return self._save_keys()
        servers = [ServerSettings.from_entry_data(self._draft, role).label for role in roles]
        placeholders = {"server": ", ".join(dict.fromkeys(servers))}
        for failure in failures.values():
            placeholders |= failure.placeholders
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=self.add_suggested_values_to_schema(keys_schema(roles), keys_values(roles, self._draft)),
            errors={f"{role}_{API_KEY}": failure.key for role, failure in failures.items()},
            description_placeholders=placeholders,
        )

    async def _async_key_failures(self, roles: list[Role]) -> dict[Role, CheckFailedError]:
        failures = {}
        for role in roles:
            try:
                await check_server(self.hass, ServerSettings.from_entry_data(self._draft, role))
            except CheckFailedError as err:
                failures[role] = err
        return failures

    def _save_keys(self) -> ConfigFlowResult:
        entry = self._get_reauth_entry()
        data = dict(entry.data)  # not the draft: another model may have been chosen meanwhile
        for role in self._asked_for_keys:
            data = with_key(role, data, self._draft.get(f"{role}_{API_KEY}", ""))
        return self.async_update_reload_and_abort(entry, data=data)
