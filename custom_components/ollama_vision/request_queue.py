"""One line of requests to a model server, however many devices ask it."""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
import time
from typing import Final

MAX_WAITING: Final = 100
MAX_PREPARING: Final = 4
RATE_LIMIT_WINDOW: Final = 60.0

# Whoever has the lowest rank goes first: urgent ones before the others, then in the order of their arrival.
type Rank = tuple[bool, int]


class QueueFullError(Exception):
    """As many requests wait as may."""


class QueueStoppedError(Exception):
    """The owner of the request left the queue: its entry unloads, or everything stops."""


class RateLimitError(Exception):
    """The limit of requests a minute is reached; `retry_after` seconds from now there is room for one more."""

    def __init__(self, retry_after: float) -> None:
        """Keep the seconds to wait."""
        super().__init__(f"Try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class RateLimit:
    """At most so many requests in any sixty seconds; None or 0 sets no limit."""

    def __init__(self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted."""
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=per_minute or 0)

    def acquire(self) -> None:
        """Count one request, or raise `RateLimitError`, which counts none."""
        now = self._clock()
        if self._recent and len(self._recent) == self._recent.maxlen:
            retry_after = self._recent[0] + RATE_LIMIT_WINDOW - now
            if retry_after > 0:
                raise RateLimitError(retry_after)
        self._recent.append(now)


class _Gate:
    """Lets a limited number in at a time; those outside wait in a line."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._line: list[tuple[Rank, asyncio.Future[None]]] = []

    @property
    def occupied(self) -> int:
        """Return the places that are there; after the limit was lowered, some of them end when they are left."""
        return max(self._limit, self._inside)

    def set_limit(self, limit: int) -> None:
        """Change how many are let in; whoever is inside stays."""
        self._limit = limit
        self._admit()

    @asynccontextmanager
    async def hold(self, rank: Rank) -> AsyncIterator[None]:
        """Wait for a place and keep it for the block."""
        await self._enter(rank)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, rank: Rank) -> None:
        if self._inside < self._limit:
            self._inside += 1
            return
        admitted = asyncio.get_running_loop().create_future()
        place = (rank, admitted)
        insort(self._line, place, key=lambda waiting: waiting[0])
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():
                # The place was given in the very moment of the cancellation: it is passed on.
                self._leave()
            elif place in self._line:
                self._line.remove(place)
            raise

    def _leave(self) -> None:
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._line and self._inside < self._limit:
            _, admitted = self._line.pop(0)
            # One that was cancelled, but did not yet come to leave the line, takes no place.
            if not admitted.done():
                admitted.set_result(None)
                self._inside += 1


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A place in the order of arrival.

    Its two steps are called at most once at a time. `turn` may be entered in another task than the ticket, and may
    outlast it: an answer that several callers share does not end with the one who asked first.
    """

    owner: str
    _rank: Rank
    _preparations: _Gate
    _turns: _Gate
    _interruption: asyncio.Timeout

    def preparing(self) -> AbstractAsyncContextManager[None]:
        """Wait until few enough pictures are being fetched and prepared, and be one of them for the block."""
        return self._preparations.hold(self._rank)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for the server, and have it for the block."""
        return self._turns.hold(self._rank)

    def stop(self) -> None:
        """Interrupt whoever is inside the ticket, who then sees `QueueStoppedError`."""
        if not self._interruption.expired():
            self._interruption.reschedule(0)  # a moment that has passed


class RequestQueue:
    """The requests to one server, from all the owners (config entries) that use it.

    A request takes a ticket when it arrives, prepares its picture and then waits for its turn. Turns go to those
    that are ready, in the order of their arrival: the server never waits for a picture.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING, max_preparing: int = MAX_PREPARING) -> None:
        """Start without owners."""
        self._max_waiting = max_waiting
        self._preparations = _Gate(max_preparing)
        self._turns = _Gate(1)
        self._concurrency: dict[str, int] = {}
        self._tickets: set[Ticket] = set()
        self._arrivals = count()
        self._listeners: list[Callable[[], None]] = []
        self._announced = 0

    @property
    def waiting(self) -> int:
        """Return how many requests are there beyond those that the server takes at a time."""
        return max(0, len(self._tickets) - self._turns.occupied)

    def attach(self, owner: str, concurrency: int) -> None:
        """Let an owner in, or change what it asks for: the server is asked as much at a time as the boldest wants."""
        self._concurrency[owner] = concurrency
        self._apply_concurrency()

    def detach(self, owner: str) -> None:
        """End the owner's requests, those that wait and those that have their turn, and take no more of them."""
        self._concurrency.pop(owner, None)
        for ticket in self._tickets:
            if ticket.owner == owner:
                ticket.stop()
        self._apply_concurrency()

    def add_listener(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have the listener called whenever `waiting` changes; call what is returned to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @asynccontextmanager
    async def ticket(self, owner: str, *, urgent: bool = False) -> AsyncIterator[Ticket]:
        """Take a place in the order of arrival and keep it for the block.

        An urgent ticket is never refused and goes before those that are not. Raises `QueueFullError` at once where
        too many wait, and `QueueStoppedError` where the owner is not attached, or as soon as it is detached, out of
        whatever the block waits for. A cancellation from elsewhere stays one.
        """
        if owner not in self._concurrency:
            raise QueueStoppedError
        if not urgent and self.waiting >= self._max_waiting:
            raise QueueFullError
        interruption = asyncio.timeout(None)
        rank = (not urgent, next(self._arrivals))
        ticket = Ticket(owner, rank, self._preparations, self._turns, interruption)
        try:
            async with interruption:
                self._tickets.add(ticket)
                self._announce()
                try:
                    yield ticket
                finally:
                    self._tickets.remove(ticket)
                    self._announce()
        except TimeoutError:
            if interruption.expired():
                raise QueueStoppedError from None
            raise

    def _apply_concurrency(self) -> None:
        self._turns.set_limit(max(self._concurrency.values(), default=1))
        self._announce()

    def _announce(self) -> None:
        if self.waiting != self._announced:
            self._announced = self.waiting
            for listener in tuple(self._listeners):
                listener()
