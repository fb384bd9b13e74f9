"""The use case: fetch the pictures, prepare them, ask the vision model, ask the text model, publish."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import logging
import time
from typing import Any, Final

from homeassistant.core import Context, HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.util import dt as dt_util

from .asking import Reply, async_ask, async_ticket
from .const import DOMAIN, EVENT_ANALYSIS_FAILED, EVENT_IMAGE_ANALYZED, AnalysisFault, Role
from .coordinator import OllamaVisionCoordinator
from .fallback import FallbackError, async_ask_fallback, fallback_entity
from .faults import PASSED_OVER, AnalysisError
from .look import Look, LookRequest, Seen
from .result import (
    EVENT_BYTES,
    AnalysisResult,
    Attempt,
    Failure,
    Publication,
    failure_signal,
    fitted,
    result_signal,
)
from .structure import readable

_LOGGER = logging.getLogger(__name__)

# An entity is there in milliseconds; an automation does not wait for one that Home Assistant cannot add.
SHOWN_SECONDS: Final = 10

# The answer to "use the text model" of a device without one.
NO_TEXT_MODEL: Final = "no_text_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRequest(LookRequest):
    """What to analyze and how; `text_prompt` is ready to be sent, but for `{description}`."""

    image_name: str
    text_prompt: str
    use_text_model: bool = False
    plain_field: str | None = None


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """What came of the text step: its prompt, the text or the reason why there is none, and who wrote it."""

    prompt: str | None = None
    text: str | None = None
    error: str | None = None
    model: str | None = None
    truncated: bool = False


class Analysis:
    """One analysis: asks the first of the given devices, and the next ones while their servers do not get to it."""

    def __init__(
        self,
        hass: HomeAssistant,
        request: AnalysisRequest,
        devices: Sequence[OllamaVisionCoordinator],
        context: Context,
    ) -> None:
        """Take the devices in the order of preference, one at least."""
        self._hass = hass
        self._request = request
        self._devices = devices
        self._asked = devices[0]
        self._context = context
        self._started = time.monotonic()
        self._attempts: list[Attempt] = []
        self._publishing = False
        self._look = Look(hass, request, devices)
        self.accepted: asyncio.Future[None] = hass.loop.create_future()

    async def async_run(self) -> dict[str, Any]:
        """Return the event's data of the result; raise AnalysisError after its event was fired.

        `accepted` is done when a device has taken the request; one that no device takes is raised without an event.
        """
        try:
            return await self._on_first_able()
        except asyncio.CancelledError:
            # Home Assistant cancels what is under way before it says that it stops.
            if self._hass.is_stopping and not self._publishing:
                self._fire_failure(self._asked, AnalysisError(AnalysisFault.STOPPING, device=self._asked.name))
            raise
        finally:
            self._look.close()

    async def _on_first_able(self) -> dict[str, Any]:
        *others, last = self._devices
        for device in others:
            try:
                return await self._on_device(device)
            except AnalysisError as err:
                if err.fault not in PASSED_OVER:
                    self._fire_failure(device, err)
                    raise
                self._pass_over(device, err)
        try:
            return await self._on_last(last)
        except AnalysisError as err:
            self._fire_failure(last, err)
            raise

    def _pass_over(self, device: OllamaVisionCoordinator, err: AnalysisError) -> None:
        self._attempts.append(Attempt(device_id=device_id(self._hass, device), error=err.fault))

    async def _on_last(self, last: OllamaVisionCoordinator) -> dict[str, Any]:
        """Ask the last device, and where its server does not get to it, the AI task that one of the devices names."""
        try:
            return await self._on_device(last)
        except AnalysisError as err:
            named = ((device, fallback_entity(device)) for device in self._devices)
            owner, entity_id = next((each for each in named if each[1]), (last, None))
            if err.fault not in PASSED_OVER or entity_id is None:
                raise
            self._pass_over(last, err)
            if event := await self._on_fallback(owner, entity_id):
                return event
            raise

    async def _on_fallback(self, owner: OllamaVisionCoordinator, entity_id: str) -> dict[str, Any] | None:
        """Ask an AI task for the device whose option names it; return None where that fails too.

        It takes a place in the line to the device's server, so that it ends with the device, and so that a line which
        is too long for that server does not go on to another one.
        """
        try:
            async with async_ticket(owner, Role.VISION) as ticket:
                self._accept()
                async with ticket.preparing():
                    pictures = await self._look.async_pictures(owner)
                reply = await async_ask_fallback(self._hass, entity_id, self._request, pictures)
        except AnalysisError as err:
            if err.fault is AnalysisFault.STOPPING:
                raise
            return None
        except FallbackError as err:
            _LOGGER.warning("Asking %s about %s failed: %s", entity_id, self._request.image_name, err)
            entity = er.async_get(self._hass).async_get(entity_id)
            self._attempts.append(Attempt(device_id=entity.device_id if entity else None, error=err.fault))
            return None
        rewriting = await self._ask_text(owner, self._plain(reply))
        return await self._publish(owner, Seen(pictures[0], reply), rewriting)

    async def async_start(self) -> None:
        """Run in the background; return when a device has taken the request, or raise that none does."""
        run = self._hass.async_create_background_task(self._run_alone(), f"{DOMAIN} {self._request.image_name}")
        await asyncio.wait((run, self.accepted), return_when=asyncio.FIRST_COMPLETED)
        if not self.accepted.done():
            await run

    async def _run_alone(self) -> None:
        """Run without anybody who waits: a failure that has fired its event was told."""
        try:
            await self.async_run()
        except AnalysisError as err:
            if not self.accepted.done():
                raise
            _LOGGER.warning("Analyzing %s failed: %s", self._request.image_name, err)

    async def _on_device(self, coordinator: OllamaVisionCoordinator) -> dict[str, Any]:
        self._asked = coordinator
        try:
            return await self._steps(coordinator)
        except AnalysisError:
            coordinator.statistics.failures += 1
            coordinator.async_update_listeners()
            raise

    async def _steps(self, coordinator: OllamaVisionCoordinator) -> dict[str, Any]:
        seen = await self._look.async_ask(coordinator, self._accept)
        rewriting = await self._ask_text(coordinator, self._plain(seen.reply))
        return await self._publish(coordinator, seen, rewriting)

    def _accept(self) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)

    async def _ask_text(self, coordinator: OllamaVisionCoordinator, description: str) -> _Rewriting:
        """Have the text model rewrite the description; where it fails, say why and go on without it."""
        if not self._request.use_text_model:
            return _Rewriting()
        if Role.TEXT not in coordinator.connections:
            return _Rewriting(error=NO_TEXT_MODEL)
        # Replaced literally: neither other braces nor braces in the description mean anything.
        prompt = self._request.text_prompt.replace("{description}", description)
        model = coordinator.model(Role.TEXT)
        question = coordinator.question(Role.TEXT, prompt)
        try:
            async with async_ticket(coordinator, Role.TEXT, urgent=True) as ticket:
                reply = await async_ask(coordinator, Role.TEXT, question, ticket=ticket, fresh=self._request.fresh)
        except AnalysisError as err:
            if err.fault is AnalysisFault.STOPPING:
                raise
            return _Rewriting(prompt=prompt, error=err.fault, model=model)
        return _Rewriting(prompt=prompt, text=reply.answer.text, model=model, truncated=reply.answer.truncated)

    def _plain(self, reply: Reply) -> str:
        """Return an answer as a person reads it."""
        if reply.data is None:
            return reply.answer.text
        return readable(reply.data, self._request.plain_field)

    async def _publish(self, coordinator: OllamaVisionCoordinator, seen: Seen, rewriting: _Rewriting) -> dict[str, Any]:
        """Publish to the end, also when nobody waits any more: what is stored is shown and told."""
        self._publishing = True
        publishing = self._store_and_tell(coordinator, seen, rewriting)
        # A task of the entry's, so that unloading waits for it.
        return await asyncio.shield(coordinator.config_entry.async_create_task(self._hass, publishing))

    async def _store_and_tell(
        self, coordinator: OllamaVisionCoordinator, seen: Seen, rewriting: _Rewriting
    ) -> dict[str, Any]:
        """Store the result, show it, fire its event: in this order, so that the event finds everything there."""
        entry, request, reply = coordinator.config_entry, self._request, seen.reply
        result = AnalysisResult(
            result_id=coordinator.history.new_result_id(),
            integration_id=entry.entry_id,
            image_name=request.image_name,
            image_urls=tuple(source.public_url for source in request.sources),
            prompt=request.prompt,
            description=reply.answer.text,
            final_description=rewriting.text or self._plain(reply),
            used_text_model=rewriting.text is not None,
            text_prompt=rewriting.prompt,
            model=reply.answer.model,
            text_model=rewriting.model,
            text_model_error=rewriting.error,
            data=reply.data,
            truncated=reply.answer.truncated or rewriting.truncated,
            cached=reply.cached,
            processing_time=round(time.monotonic() - self._started, 3),
            timestamp=dt_util.now().isoformat(),
            attempts=tuple(self._attempts),
        )
        await coordinator.history.async_add(result, seen.picture.data, seen.picture.mime_type)
        publication = Publication(result)
        async_dispatcher_send(self._hass, result_signal(entry.entry_id), publication)
        if publication.pending:
            await asyncio.wait(publication.pending, timeout=SHOWN_SECONDS)
        coordinator.statistics.analyses += 1
        coordinator.statistics.processing_time = result.processing_time
        coordinator.async_update_listeners()
        entities = er.async_get(self._hass)
        unique_id = f"{entry.entry_id}_{result.slug}"
        event = result.as_event(
            device_id=device_id(self._hass, coordinator),
            entity_id=entities.async_get_entity_id("sensor", DOMAIN, unique_id),
            image_entity_id=entities.async_get_entity_id("image", DOMAIN, unique_id),
        )
        self._hass.bus.async_fire(EVENT_IMAGE_ANALYZED, event, context=self._context)
        return event

    def _fire_failure(self, coordinator: OllamaVisionCoordinator, err: AnalysisError) -> None:
        if not self.accepted.done():
            return
        entry_id = coordinator.config_entry.entry_id
        failure = Failure(image_name=self._request.image_name, error=err.fault, message=str(err))
        event = asdict(failure) | {
            "integration_id": entry_id,
            "device_id": device_id(self._hass, coordinator),
            "image_url": self._request.sources[0].public_url,
            "attempts": [asdict(attempt) for attempt in self._attempts],
        }
        async_dispatcher_send(self._hass, failure_signal(entry_id), failure)
        self._hass.bus.async_fire(EVENT_ANALYSIS_FAILED, fitted(event, EVENT_BYTES), context=self._context)


def device_id(hass: HomeAssistant, coordinator: OllamaVisionCoordinator) -> str | None:
    """Return the id of a coordinator's device, as Home Assistant's registry has it."""
    entry_id = coordinator.config_entry.entry_id
    device = dr.async_get(hass).async_get_device_by_identifier((DOMAIN, entry_id), entry_id)
    return device.id if device else None
