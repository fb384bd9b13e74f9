"""Each device as an AI Task entity: `ai_task.generate_data` with pictures and structure, asked as every analysis is.

What is asked here is no result: it has no image name, and so no sensor, no picture kept and no event.
"""

from typing import override

from homeassistant.components.ai_task import AITaskEntity, AITaskEntityFeature, GenDataTask, GenDataTaskResult
from homeassistant.components.conversation import AssistantContent, Attachment, ChatLog
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .asking import Reply, async_ask, async_ticket
from .const import AnalysisFault, Role
from .coordinator import OllamaVisionConfigEntry, OllamaVisionCoordinator
from .entity import DeviceEntity
from .faults import AnalysisError
from .image_source import ImageSource, file_source
from .look import Look, LookRequest
from .structure import Structure, structure_of

PARALLEL_UPDATES = 0  # the line to the server decides


async def async_setup_entry(
    _: HomeAssistant,
    entry: OllamaVisionConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the device's AI Task entity."""
    async_add_entities([VisionTask(entry.runtime_data)])


class VisionTask(DeviceEntity, AITaskEntity):
    """The device, as the AI Task integration asks it."""

    _attr_name = None
    _attr_supported_features = AITaskEntityFeature.GENERATE_DATA | AITaskEntityFeature.SUPPORT_ATTACHMENTS

    def __init__(self, coordinator: OllamaVisionCoordinator) -> None:
        """Be named like the device."""
        super().__init__(coordinator, "ai_task")

    @override
    async def _async_generate_data(self, task: GenDataTask, chat_log: ChatLog) -> GenDataTaskResult:
        structure = structure_of(task.structure) if task.structure else None
        if task.attachments:
            reply = await self._look(task.attachments, task.instructions, structure)
        else:
            reply = await self._ask(task.instructions, structure)
        chat_log.async_add_assistant_content_without_tools(
            AssistantContent(agent_id=self.entity_id, content=reply.answer.text)
        )
        data = reply.answer.text if structure is None else reply.data
        return GenDataTaskResult(conversation_id=chat_log.conversation_id, data=data)

    async def _look(self, attachments: list[Attachment], prompt: str, structure: Structure | None) -> Reply:
        request = LookRequest(sources=tuple(map(_source, attachments)), prompt=prompt, structure=structure)
        look = Look(self.hass, request, [self.coordinator])
        try:
            return (await look.async_ask(self.coordinator)).reply
        finally:
            look.close()

    async def _ask(self, prompt: str, structure: Structure | None) -> Reply:
        """Ask about nothing to see: the text model where there is one; from memory such answers would repeat."""
        coordinator = self.coordinator
        role = Role.TEXT if Role.TEXT in coordinator.connections else Role.VISION
        question = coordinator.question(role, prompt, structure=structure.json_schema if structure else None)
        async with async_ticket(coordinator, role) as ticket:
            return await async_ask(coordinator, role, question, ticket=ticket, structure=structure, fresh=True)


def _source(attachment: Attachment) -> ImageSource:
    if not attachment.mime_type.startswith("image/"):
        raise AnalysisError(
            AnalysisFault.NOT_AN_IMAGE,
            "attachment_not_a_picture",
            attachment=attachment.media_content_id,
            mime_type=attachment.mime_type,
        )
    return file_source(attachment.path, attachment.media_content_id)
