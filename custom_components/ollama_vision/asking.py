"""One question to one of a device's models: remembered or in line, tried again while the server is busy, checked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
import time
from typing import Any, Final

from .answer_cache import key_of
from .const import AnalysisFault, Role
from .coordinator import OllamaVisionCoordinator
from .faults import AnalysisError, from_server_error
from .model_server.errors import (
    ModelCannotSeeError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
)
from .model_server.models import Answer, Question
from .request_queue import QueueFullError, QueueStoppedError, RateLimitError, Ticket
from .structure import Structure, StructureMismatchError

# Seconds before each further try at a server that is busy, and the longest that one may ask to wait.
BUSY_DELAYS: Final = (1.0, 2.0, 4.0)
LONGEST_RETRY_AFTER: Final = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer, its structured data, and whether it came from memory."""

    answer: Answer
    data: dict[str, Any] | None
    cached: bool


@asynccontextmanager
async def async_ticket(
    coordinator: OllamaVisionCoordinator, role: Role, *, urgent: bool = False
) -> AsyncIterator[Ticket]:
    """Take a place in the line to a device's server and keep it for the block.

    Raises AnalysisError where too many wait, and out of the block where the device unloads. See `RequestQueue.ticket`.
    """
    queue = coordinator.connections[role].queue
    try:
        async with queue.ticket(coordinator.config_entry.entry_id, urgent=urgent) as ticket:
            yield ticket
    except QueueFullError as err:
        raise AnalysisError(AnalysisFault.BUSY, "queue_full", device=coordinator.name) from err
    except QueueStoppedError as err:
        raise AnalysisError(AnalysisFault.STOPPING, device=coordinator.name) from err


async def async_ask(  # noqa: PLR0913  (a question has that many sides, and all are named)
    coordinator: OllamaVisionCoordinator,
    role: Role,
    question: Question,
    *,
    ticket: Ticket,
    digests: tuple[str, ...] = (),
    structure: Structure | None = None,
    fresh: bool = False,
) -> Reply:
    """Ask a question and return the reply; raise AnalysisError where there is none.

    `digests` stand for the question's pictures in the memory of answers, which `fresh` passes over.
    """
    asking = _Asking(coordinator, role, ticket)
    key = key_of(
        server=str(coordinator.connections[role].server.url),
        model=question.model,
        prompt=question.prompt,
        structure=question.structure,
        pictures=digests,
    )
    try:
        answer, cached = await coordinator.answers.get(key, lambda: asking.checked(question, structure), fresh=fresh)
    except ModelServerError as err:
        raise _explained(coordinator, role, question, err) from err
    except RateLimitError as err:
        raise AnalysisError(
            AnalysisFault.RATE_LIMITED, device=coordinator.name, seconds=f"{err.retry_after:.0f}"
        ) from err
    return Reply(answer, structure.parse(answer.text) if structure else None, cached)


@dataclass(frozen=True, slots=True)
class _Asking:
    coordinator: OllamaVisionCoordinator
    role: Role
    ticket: Ticket

    async def checked(self, question: Question, structure: Structure | None) -> Answer:
        """Ask until the answer fits its structure, twice at most."""
        if question.pictures:
            # First, so that the limit also holds for those who are asked when this server is away.
            self.coordinator.rate_limit.acquire()
            await self._require_sight(question.model)
        answer = await self._ask_in_turn(question)
        if structure is None:
            return answer
        for again in (True, False):
            if answer.truncated:
                raise AnalysisError(AnalysisFault.TRUNCATED, model=answer.model)
            try:
                structure.parse(answer.text)
            except StructureMismatchError as err:
                if not again:
                    raise AnalysisError(AnalysisFault.STRUCTURE_MISMATCH, model=answer.model, detail=str(err)) from err
                answer = await self._ask_in_turn(question)
            else:
                break
        return answer

    async def _require_sight(self, model: str) -> None:
        """Never send a picture to a model that the server says cannot see."""
        known = self.coordinator.known_model(self.role, model)
        sees = known.vision if known else None
        if sees is None:
            sees = await self._asked_for_sight(model)
        if sees is False:
            raise ModelCannotSeeError(f"{model} takes text only")

    async def _asked_for_sight(self, model: str) -> bool | None:
        """Return what the server says of a model; where that fails, the question has the patience to find out."""
        try:
            return await self.coordinator.connections[self.role].server.can_see(model)
        except ModelServerError as err:
            if type(err) is ModelServerConnectionError:  # and no timeout, which is a kind of it
                # The question would only wait as long again for a machine that is off.
                self.coordinator.async_report_error(self.role, err)
                raise
            return None

    async def _ask_in_turn(self, question: Question) -> Answer:
        coordinator, arrived = self.coordinator, time.monotonic()
        server = coordinator.connections[self.role].server
        async with self.ticket.turn():
            coordinator.statistics.waiting_time = time.monotonic() - arrived
            try:
                answer = await _while_busy(lambda: server.ask(question, coordinator.silence))
            except ModelServerError as err:
                coordinator.async_report_error(self.role, err)
                raise
        coordinator.async_report_answer(self.role, question.model)
        coordinator.statistics.words_per_second = _words_per_second(answer)
        return answer


async def _while_busy[T](ask: Callable[[], Awaitable[T]]) -> T:
    """Try again a few times while the server has too much to do; nothing else is tried again."""
    for delay in BUSY_DELAYS:
        try:
            return await ask()
        except ModelServerBusyError as err:
            await asyncio.sleep(delay if err.retry_after is None else min(err.retry_after, LONGEST_RETRY_AFTER))
    return await ask()


def _words_per_second(answer: Answer) -> float | None:
    """Return how fast the model wrote, in what a person counts; servers count tokens."""
    if not answer.tokens or answer.tokens_per_second is None:
        return None
    return len(answer.text.split()) / answer.tokens * answer.tokens_per_second


def _explained(
    coordinator: OllamaVisionCoordinator, role: Role, question: Question, err: ModelServerError
) -> AnalysisError:
    server = coordinator.connections[role].server
    seeing = sorted(model.name for model in coordinator.data[role].models if model.vision)
    return from_server_error(
        err,
        device=coordinator.name,
        server=str(server.url),
        model=question.model,
        models=", ".join(seeing) or "–",
    )
