"""The same question twice: asked once while it is under way, and then remembered."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
import json
import time
from typing import Any, Final

MAX_ANSWERS: Final = 256
MAX_AGE: Final = 3600.0


def key_of(*, server: str, model: str, prompt: str, pictures: Iterable[str] = (), **asked_with: Any) -> str:
    """Return what tells one question from another: a hexadecimal SHA-256.

    `pictures` are digests of the prepared pictures, in the order in which the model gets them. `asked_with` is
    whatever else bends an answer (structure, temperature, …) as JSON; the order of a structure's fields counts.
    """
    question = [server, model, prompt, list(pictures), sorted(asked_with.items())]
    return sha256(json.dumps(question, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Remembered[T]:
    answer: T
    since: float


@dataclass(slots=True)
class _Call[T]:
    """A question under way, in a task of its own: none of those who wait for it is the one whom it depends on."""

    task: asyncio.Task[T]
    waiters: int = 0


class AnswerCache[T]:
    """Remembers answers for `max_age` seconds (0: not at all), at most `max_size` of them."""

    def __init__(
        self,
        *,
        max_size: int = MAX_ANSWERS,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty."""
        self._max_size = max_size
        self._max_age = max_age
        self._clock = clock
        self._answers: dict[Hashable, _Remembered[T]] = {}  # the oldest first
        self._calls: dict[Hashable, _Call[T]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]], *, fresh: bool = False) -> tuple[T, bool]:
        """Return the answer, and whether it came without asking for it.

        The same question under way is joined; an error of `ask` is raised to all who wait and is not remembered.
        A caller that is cancelled leaves the others their answer; with the last one the call ends too, before its
        cancellation goes on. `fresh` asks again, whatever is known, and replaces it.

        `ask` runs in a task of its own. What may interrupt one caller (a queue's ticket) goes around this call,
        not into `ask`, where it would interrupt all.
        """
        if not fresh and (remembered := self._recall(key)):
            return remembered.answer, True
        under_way = None if fresh else self._calls.get(key)
        call = under_way or self._start(key, ask)
        call.waiters += 1
        try:
            await asyncio.wait((call.task,))
        except asyncio.CancelledError:
            call.waiters -= 1
            if not call.waiters and not call.task.done():
                await self._abandon(key, call)
            raise
        return call.task.result(), under_way is not None

    def _start(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> _Call[T]:
        async def run() -> T:
            return await ask()

        call = _Call(asyncio.create_task(run()))
        self._calls[key] = call
        call.task.add_done_callback(partial(self._finish, key, call))
        return call

    def _finish(self, key: Hashable, call: _Call[T], task: asyncio.Task[T]) -> None:
        # Asking for the exception also keeps asyncio from logging one that nobody was left to see.
        answered = not task.cancelled() and task.exception() is None
        if self._calls.get(key) is not call:  # abandoned, or asked again since
            return
        del self._calls[key]
        if answered:
            self._remember(key, task.result())

    async def _abandon(self, key: Hashable, call: _Call[T]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]  # nobody may join a call that is ending
        call.task.cancel()
        await asyncio.wait((call.task,))

    def _recall(self, key: Hashable) -> _Remembered[T] | None:
        remembered = self._answers.get(key)
        return remembered if remembered and self._clock() - remembered.since < self._max_age else None

    def _remember(self, key: Hashable, answer: T) -> None:
        self._answers.pop(key, None)
        self._answers[key] = _Remembered(answer, self._clock())
        if len(self._answers) > self._max_size:
            del self._answers[next(iter(self._answers))]
