"""One look at pictures: fetch them, prepare them for a device, and ask its vision model."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
import os

from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from .asking import Reply, async_ask, async_ticket
from .const import CONF_PICTURE_SIZE, DEFAULT_PICTURE_SIZE, DOMAIN, AnalysisFault, Role
from .coordinator import OllamaVisionCoordinator
from .faults import AnalysisError
from .image_source import ImageSource, ImageSourceError, fetch
from .model_server.models import Picture
from .preprocessing import ImageTooLargeError, PreparedImage, PreprocessingError, prepare
from .structure import Structure
from .tasks import FINE_DETAIL_EDGE

_PROCESSORS: HassKey[asyncio.Semaphore] = HassKey(f"{DOMAIN}_processors")


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRequest:
    """What to look at, one picture at least, and what to ask about it; `prompt` is sent as it is."""

    sources: tuple[ImageSource, ...]
    prompt: str
    structure: Structure | None = None
    fine_detail: bool = False
    model: str | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model said, and the first picture as the model got it."""

    picture: PreparedImage
    reply: Reply


@dataclass(frozen=True, slots=True)
class _Prepared:
    image: PreparedImage
    digest: str


class Look:
    """A question about pictures, which several devices can be asked in turn; it has to be closed in the end."""

    def __init__(self, hass: HomeAssistant, request: LookRequest, devices: Iterable[OllamaVisionCoordinator]) -> None:
        """Fetch nothing yet; `devices` are all that may be asked."""
        self._hass = hass
        self._request = request
        self._edges = {device: _longest_edge(device, request) for device in devices}
        self._downloads: asyncio.Task[list[bytes]] | None = None
        self._prepared: dict[int, list[_Prepared]] = {}

    def close(self) -> None:
        """End what is still being fetched."""
        if self._downloads:
            self._downloads.cancel()

    async def async_ask(self, coordinator: OllamaVisionCoordinator, accepted: Callable[[], None] | None = None) -> Seen:
        """Ask a device and return what it saw, or raise AnalysisError; `accepted` is called in the line to its server.

        The server is asked to load the model while the pictures are on their way.
        """
        async with async_ticket(coordinator, Role.VISION) as ticket:
            if accepted:
                accepted()
            coordinator.async_warm_up(Role.VISION, self._request.model or coordinator.model(Role.VISION))
            async with ticket.preparing():
                prepared = await self._prepare(coordinator)
            question = coordinator.question(
                Role.VISION,
                self._request.prompt,
                model=self._request.model,
                pictures=tuple(Picture(data=one.image.data, mime_type=one.image.mime_type) for one in prepared),
                structure=self._request.structure.json_schema if self._request.structure else None,
            )
            reply = await async_ask(
                coordinator,
                Role.VISION,
                question,
                ticket=ticket,
                digests=tuple(one.digest for one in prepared),
                structure=self._request.structure,
                fresh=self._request.fresh,
            )
        return Seen(prepared[0].image, reply)

    async def async_pictures(self, coordinator: OllamaVisionCoordinator) -> list[PreparedImage]:
        """Return the pictures as a device's model would get them, or raise AnalysisError."""
        return [one.image for one in await self._prepare(coordinator)]

    async def _prepare(self, coordinator: OllamaVisionCoordinator) -> list[_Prepared]:
        """Fetch the pictures, once for all devices, and prepare them, once for those that want the same size."""
        edge = self._edges[coordinator]
        if edge not in self._prepared:
            self._prepared[edge] = await self._prepare_at(edge)
            if self._prepared.keys() >= set(self._edges.values()):
                # A request may wait for long, and many may: what was fetched can have 20 MB a picture.
                self._downloads = None
        return self._prepared[edge]

    async def _prepare_at(self, edge: int) -> list[_Prepared]:
        if self._downloads is None:
            self._downloads = self._hass.async_create_background_task(
                _fetch_all(self._hass, self._request.sources), f"{DOMAIN} fetch"
            )
        try:
            pictures = await asyncio.shield(self._downloads)
            async with _processors(self._hass):
                return await self._hass.async_add_executor_job(_prepare_all, pictures, edge)
        except ImageSourceError as err:
            raise AnalysisError(err.fault, err.translation_key, **err.placeholders) from err
        except ImageTooLargeError as err:
            raise AnalysisError(AnalysisFault.IMAGE_TOO_LARGE, "picture_too_large", detail=str(err)) from err
        except PreprocessingError as err:
            image_url = self._request.sources[0].public_url
            raise AnalysisError(AnalysisFault.NOT_AN_IMAGE, image_url=image_url, detail=str(err)) from err


def _longest_edge(coordinator: OllamaVisionCoordinator, request: LookRequest) -> int:
    """Return the size in pixels in which a device gets the pictures."""
    edge = int(coordinator.config_entry.options.get(CONF_PICTURE_SIZE, DEFAULT_PICTURE_SIZE))
    return max(edge, FINE_DETAIL_EDGE) if request.fine_detail else edge


async def _fetch_all(hass: HomeAssistant, sources: Sequence[ImageSource]) -> list[bytes]:
    """Fetch all pictures of one question at once; raise the first one's error when all have ended."""
    fetched = await asyncio.gather(*(fetch(hass, source) for source in sources), return_exceptions=True)
    pictures: list[bytes] = []
    for one in fetched:
        if isinstance(one, BaseException):
            raise one
        pictures.append(one)
    return pictures


def _processors(hass: HomeAssistant) -> asyncio.Semaphore:
    """Limit the pictures prepared at a time: a processor stays for the event loop, which feeds the server."""
    return hass.data.setdefault(_PROCESSORS, asyncio.Semaphore(max(1, (os.process_cpu_count() or 1) - 1)))


def _prepare_all(pictures: Sequence[bytes], longest_edge: int) -> list[_Prepared]:
    images = [prepare(picture, longest_edge=longest_edge) for picture in pictures]
    return [_Prepared(image, sha256(image.data).hexdigest()) for image in images]
