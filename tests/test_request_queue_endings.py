"""The line of requests to one server: what those who give up, and devices that leave, leave behind (nothing)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
import gc
import random

import pytest

from custom_components.ollama_vision.request_queue import (
    QueueFullError,
    QueueStoppedError,
    RequestQueue,
)

from .queues import OTHER, OWNER, Holder, Server, assert_all_free, make_queue, settle

# Cancellation


@asynccontextmanager
async def busy(queue: RequestQueue) -> AsyncIterator[Server]:
    """Have a queue whose slot and whose places for pictures are all taken by the other owner."""
    server = Server(queue)
    pictures = [asyncio.get_running_loop().create_future() for _ in range(4)]
    tasks = [server.start("first", owner=OTHER)]
    tasks += [server.start(f"p{number}", owner=OTHER, picture=picture) for number, picture in enumerate(pictures)]
    await settle()
    yield server
    for picture in pictures:
        picture.set_result(None)
    server.release("first", *(f"p{number}" for number in range(4)))
    assert await asyncio.gather(*tasks) == ["first", "p0", "p1", "p2", "p3"]


async def waits_for_preparation(queue: RequestQueue) -> None:
    async with queue.ticket(OWNER) as ticket, ticket.preparing():
        pytest.fail("there is no room")


async def waits_for_its_turn(queue: RequestQueue) -> None:
    async with queue.ticket(OWNER) as ticket, ticket.turn():
        pytest.fail("the server is taken")


async def waits_for_something_else(queue: RequestQueue) -> None:
    async with queue.ticket(OWNER):
        await asyncio.Event().wait()


@pytest.mark.parametrize("request_", [waits_for_preparation, waits_for_its_turn, waits_for_something_else])
async def test_a_cancelled_waiter_leaves_nothing(request_: Callable[[RequestQueue], Awaitable[None]]) -> None:
    queue = make_queue()
    async with busy(queue):
        before = queue.waiting
        task = asyncio.ensure_future(request_(queue))
        await settle()
        assert queue.waiting == before + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert queue.waiting == before
    await assert_all_free(queue)


@pytest.mark.parametrize("step", ["preparing", "turn"])
async def test_a_cancelled_holder_hands_on_what_it_held(step: str) -> None:
    queue = make_queue(max_preparing=1)
    holder, following = Holder(queue), Holder(queue)
    task, next_task = asyncio.create_task(holder.hold(step)), asyncio.create_task(following.hold(step))
    await settle()
    assert (holder.inside, following.inside) == (True, False)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert (holder.inside, following.inside) == (False, True)
    next_task.cancel()
    await settle()
    await assert_all_free(queue, preparing=1)


@pytest.mark.parametrize("granted", [True, False])
async def test_a_slot_goes_past_one_who_is_cancelled_in_that_moment(granted: bool) -> None:
    """Granted, but its new holder has not run yet; or free, and the first in line has not left yet."""
    queue = make_queue()
    server = Server(queue)
    async with queue.ticket(OWNER) as ticket, ticket.turn():
        late, following = server.start("late"), server.start("following")
        await settle()
        if not granted:
            late.cancel()
    if granted:
        late.cancel()
    await settle()
    assert late.cancelled()
    assert server.asked == ["following"]
    server.release("following")
    await following
    await assert_all_free(queue)


async def test_an_error_in_the_block_frees_the_slot_and_stays_what_it_is() -> None:
    queue = make_queue()
    for error in (ValueError, TimeoutError):
        with pytest.raises(error):
            async with queue.ticket(OWNER) as ticket, ticket.turn():
                raise error
    await assert_all_free(queue)


async def test_those_who_gave_up_on_a_silent_server_take_no_memory() -> None:
    def futures() -> int:
        gc.collect()
        return sum(isinstance(thing, asyncio.Future) for thing in gc.get_objects())

    queue = make_queue()
    async with queue.ticket(OWNER) as ticket, ticket.turn():
        before = futures()
        for _ in range(100):
            task = asyncio.ensure_future(waits_for_its_turn(queue))
            await settle()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert futures() < before + 10


class Storm:
    """Requests of two owners that come, are cancelled and lose their owner at random, the same way each time."""

    def __init__(self, queue: RequestQueue) -> None:
        self.queue = queue
        self.outcomes: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._rng = random.Random(20261101)  # noqa: S311  (nothing secret)
        self._running: dict[asyncio.Task[None], None] = {}  # in the order of their start

    async def rage(self, requests: int) -> None:
        """Start so many requests and return when the last has ended."""
        for _ in range(requests):
            task = asyncio.create_task(self._request())
            self._running[task] = None
            task.add_done_callback(self._running.pop)
            if self._rng.random() < 0.3:
                self._rng.choice(list(self._running)).cancel()
            if self._rng.random() < 0.02:
                self.queue.detach(OTHER)
                self.queue.attach(OTHER, self._rng.choice((1, 2)))
            if self._rng.random() < 0.5:
                await self._pause()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _pause(self) -> None:
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)

    async def _request(self) -> None:
        outcome = "cancelled"
        try:
            await self._two_steps(self._rng.choice((OWNER, OTHER)), urgent=self._rng.random() < 0.2)
            outcome = "answered"
        except QueueFullError:
            outcome = "refused"
        except QueueStoppedError:
            outcome = "stopped"
        finally:
            self.outcomes[outcome] += 1

    async def _two_steps(self, owner: str, *, urgent: bool) -> None:
        async with self.queue.ticket(owner, urgent=urgent) as ticket:
            async with ticket.preparing(), self._counted("preparing"):
                await self._pause()
            await self._pause()
            async with ticket.turn(), self._counted("turn"):
                await self._pause()

    @asynccontextmanager
    async def _counted(self, step: str) -> AsyncIterator[None]:
        self.inside[step] += 1
        self.most[step] = max(self.most[step], self.inside[step])
        try:
            yield
        finally:
            self.inside[step] -= 1


async def test_many_requests_cancelled_at_random_leave_nothing() -> None:
    queue = make_queue(concurrency=2, max_waiting=8)
    storm = Storm(queue)
    async with asyncio.timeout(20):
        await storm.rage(1000)

    assert set(storm.outcomes) == {"answered", "refused", "cancelled", "stopped"}
    assert min(storm.outcomes.values()) > 10
    assert storm.most == {"turn": 2, "preparing": 4}
    assert storm.inside == {"turn": 0, "preparing": 0}
    await assert_all_free(queue, concurrency=2)


# Owners who leave


@pytest.mark.parametrize("request_", [waits_for_preparation, waits_for_its_turn, waits_for_something_else])
async def test_detaching_ends_those_who_wait(request_: Callable[[RequestQueue], Awaitable[None]]) -> None:
    queue = make_queue()
    async with busy(queue) as server:
        task = asyncio.ensure_future(request_(queue))
        await settle()
        queue.detach(OWNER)
        with pytest.raises(QueueStoppedError):
            await task
        assert server.asked == ["first"]
    queue.attach(OWNER, 1)
    await assert_all_free(queue)


async def test_detaching_ends_what_is_under_way_and_leaves_the_other_owner_alone() -> None:
    queue = make_queue()
    server = Server(queue)
    mine, theirs = server.start("mine"), server.start("theirs", owner=OTHER)
    await settle()
    queue.detach(OWNER)
    with pytest.raises(QueueStoppedError):
        await mine
    await settle()
    assert server.asked == ["mine", "theirs"]
    assert server.answered == []
    server.release("theirs")
    assert await theirs == "theirs"


async def test_an_owner_who_is_not_there_is_not_served() -> None:
    queue = make_queue()
    queue.detach(OWNER)
    queue.detach(OWNER)
    for urgent in (False, True):
        with pytest.raises(QueueStoppedError):
            await Server(queue).start("a", owner=OWNER, urgent=urgent)
    assert queue.waiting == 0


async def test_an_owner_who_comes_back_while_its_requests_end_can_leave_again() -> None:
    queue = make_queue()
    ended = asyncio.Event()

    async def ends_slowly() -> None:
        async with queue.ticket(OWNER):
            try:
                await asyncio.Event().wait()
            finally:
                await ended.wait()

    task = asyncio.create_task(ends_slowly())
    await settle()
    queue.detach(OWNER)
    queue.attach(OWNER, 1)
    await settle()
    queue.detach(OWNER)
    await settle()
    assert not task.done()
    ended.set()
    with pytest.raises(QueueStoppedError):
        await task


async def test_the_error_says_stopped_where_the_block_turns_the_interruption_into_a_timeout() -> None:
    queue = make_queue()

    async def request() -> None:
        async with queue.ticket(OWNER):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as err:
                raise TimeoutError from err

    task = asyncio.create_task(request())
    await settle()
    queue.detach(OWNER)
    with pytest.raises(QueueStoppedError):
        await task


async def test_a_caller_who_is_cancelled_while_its_owner_leaves_is_cancelled() -> None:
    queue = make_queue()
    task = asyncio.ensure_future(waits_for_something_else(queue))
    await settle()
    queue.detach(OWNER)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queue.waiting == 0


async def test_detaching_in_a_nested_ticket_of_another_server_stops_both() -> None:
    vision, text = make_queue(), make_queue()
    reached: list[str] = []

    async def request() -> None:
        async with vision.ticket(OWNER):
            try:
                async with text.ticket(OWNER, urgent=True):
                    await asyncio.Event().wait()
            except QueueStoppedError:
                reached.append("text")
                raise

    task = asyncio.create_task(request())
    await settle()
    vision.detach(OWNER)
    text.detach(OWNER)
    with pytest.raises(QueueStoppedError):
        await task
    assert task.cancelling() == 0
