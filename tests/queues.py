"""What the tests of the line of requests share: its users, and whether they left it as it was."""

import asyncio
from collections.abc import Awaitable

from custom_components.ollama_vision.request_queue import (
    RequestQueue,
)

OWNER = "porch"
OTHER = "garden"


def make_queue(concurrency: int = 1, **limits: int) -> RequestQueue:
    """Return a queue with two owners."""
    queue = RequestQueue(**limits)
    queue.attach(OWNER, concurrency)
    queue.attach(OTHER, 1)
    return queue


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


class Server:
    """Requests that go through a queue and stay with the server until they are released."""

    def __init__(self, queue: RequestQueue) -> None:
        self.queue = queue
        self.asked: list[str] = []
        self.answered: list[str] = []
        self._release: dict[str, asyncio.Event] = {}

    def start(
        self, name: str, *, owner: str = OWNER, urgent: bool = False, picture: Awaitable[object] | None = None
    ) -> asyncio.Task[str]:
        """Start a request; its picture is there at once, or when what is given is."""
        self._release[name] = asyncio.Event()
        return asyncio.create_task(self._request(name, owner, picture, urgent=urgent))

    def release(self, *names: str) -> None:
        """Have the server answer these requests."""
        for name in names:
            self._release[name].set()

    async def _request(self, name: str, owner: str, picture: Awaitable[object] | None, *, urgent: bool) -> str:
        async with self.queue.ticket(owner, urgent=urgent) as ticket:
            if not urgent:
                async with ticket.preparing():
                    if picture is not None:
                        await picture
            async with ticket.turn():
                self.asked.append(name)
                await self._release[name].wait()
                self.answered.append(name)
        return name


async def assert_all_free(queue: RequestQueue, concurrency: int = 1, preparing: int = 4) -> None:
    """Take every slot and every place for a picture at once: none may have been lost, none be there twice."""
    assert queue.waiting == 0
    everyone = [Holder(queue) for _ in range(max(concurrency, preparing) + 1)]
    for step, limit in (("preparing", preparing), ("turn", concurrency)):
        tasks = [asyncio.create_task(holder.hold(step)) for holder in everyone]
        await settle()
        assert sum(holder.inside for holder in everyone) == limit
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(holder.inside for holder in everyone)
    assert queue.waiting == 0


class Holder:
    """Somebody who takes a step and keeps it."""

    def __init__(self, queue: RequestQueue) -> None:
        self.queue = queue
        self.inside = False

    async def hold(self, step: str) -> None:
        """Take the step and keep it until cancelled."""
        async with self.queue.ticket(OWNER, urgent=True) as ticket, getattr(ticket, step)():
            self.inside = True
            try:
                await asyncio.Event().wait()
            finally:
                self.inside = False
