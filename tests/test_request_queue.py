"""The line of requests to one server: who is asked when, who is refused, and what is left behind (nothing)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
import gc
import random

import pytest

from custom_components.ollama_vision.request_queue import (
    QueueFullError,
    QueueStoppedError,
    RateLimit,
    RateLimitError,
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


# Order


async def test_requests_are_asked_one_at_a_time_in_the_order_they_came() -> None:
    server = Server(make_queue())
    tasks = [server.start(name) for name in "abc"]
    await settle()
    assert server.asked == ["a"]
    assert server.queue.waiting == 2

    server.release("a")
    await settle()
    assert server.asked == ["a", "b"]

    server.release("b", "c")
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    assert server.asked == ["a", "b", "c"]
    await assert_all_free(server.queue)


async def test_the_server_does_not_wait_for_a_picture_and_the_order_counts_again_when_it_is_there() -> None:
    server = Server(make_queue())
    picture = asyncio.get_running_loop().create_future()
    tasks = [server.start("slow", picture=picture), server.start("b"), server.start("c")]
    await settle()
    assert server.asked == ["b"]

    picture.set_result(None)
    await settle()
    server.release("slow", "b", "c")
    await asyncio.gather(*tasks)
    assert server.asked == ["b", "slow", "c"]


async def test_the_next_picture_is_prepared_while_the_server_works() -> None:
    server = Server(make_queue())
    fetched = asyncio.Event()

    async def fetch() -> None:
        fetched.set()

    first, second = server.start("a"), server.start("b", picture=fetch())
    await settle()
    assert server.asked == ["a"]
    assert fetched.is_set()
    server.release("a", "b")
    await asyncio.gather(first, second)


async def test_a_text_step_goes_before_waiting_pictures_and_after_earlier_text_steps() -> None:
    server = Server(make_queue())
    tasks = [server.start("a"), server.start("b")]
    await settle()
    tasks += [server.start("text 1", urgent=True), server.start("text 2", urgent=True)]
    await settle()
    server.release("a", "b", "text 1", "text 2")
    await asyncio.gather(*tasks)
    assert server.asked == ["a", "text 1", "text 2", "b"]


async def test_a_ticket_keeps_its_place_for_a_second_turn() -> None:
    queue = make_queue()
    turns = []

    async def ask(name: str, times: int) -> None:
        async with queue.ticket(OWNER) as ticket:
            for _ in range(times):
                async with ticket.turn():
                    turns.append(name)
                    await asyncio.sleep(0)

    await asyncio.gather(ask("a", 1), ask("again", 2), ask("c", 1), ask("d", 1))
    assert turns == ["a", "again", "c", "again", "d"]
    await assert_all_free(queue)


async def test_the_server_is_free_between_the_two_steps_of_one_request() -> None:
    queue = make_queue()
    server = Server(queue)
    async with queue.ticket(OWNER) as ticket:
        async with ticket.turn():
            other = server.start("other")
            await settle()
            assert server.asked == []
        await settle()
        assert server.asked == ["other"]
        server.release("other")
        await other


async def test_a_turn_may_be_taken_in_another_task_and_outlast_its_ticket() -> None:
    queue = make_queue()
    server = Server(queue)
    answer = asyncio.Event()

    async def ask(turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            await answer.wait()

    async with queue.ticket(OWNER) as ticket:
        shared = asyncio.create_task(ask(ticket.turn()))
        await settle()
    following = server.start("following")
    await settle()
    assert server.asked == []

    answer.set()
    await shared
    await settle()
    assert server.asked == ["following"]
    server.release("following")
    await following
    await assert_all_free(queue)


# Limits


async def test_concurrency_is_the_highest_among_the_owners() -> None:
    queue = make_queue(concurrency=2)
    server = Server(queue)
    tasks = [server.start(name, owner=OTHER) for name in "abcdef"]
    await settle()
    assert server.asked == ["a", "b"]
    assert queue.waiting == 4

    queue.attach(OTHER, 3)
    await settle()
    assert server.asked == ["a", "b", "c"]
    assert queue.waiting == 3

    queue.attach(OTHER, 1)
    queue.attach(OWNER, 1)
    assert queue.waiting == 3
    server.release("a", "b")
    await settle()
    assert server.asked == ["a", "b", "c"]

    server.release("c")
    await settle()
    assert server.asked == ["a", "b", "c", "d"]
    server.release("d", "e", "f")
    await asyncio.gather(*tasks)
    await assert_all_free(queue)


async def test_concurrency_falls_when_the_owner_who_asked_for_it_goes() -> None:
    queue = make_queue(concurrency=2)
    queue.detach(OWNER)
    server = Server(queue)
    tasks = [server.start(name, owner=OTHER) for name in "ab"]
    await settle()
    assert server.asked == ["a"]
    server.release("a", "b")
    await asyncio.gather(*tasks)


async def test_a_hundred_wait_and_the_next_is_refused_at_once() -> None:
    server = Server(make_queue())
    tasks = [server.start(str(number)) for number in range(101)]
    await settle()
    assert server.asked == ["0"]
    assert server.queue.waiting == 100

    with pytest.raises(QueueFullError):
        await server.start("refused")
    assert server.queue.waiting == 100

    server.release("0")
    await tasks[0]
    tasks.append(server.start("in time"))
    await settle()
    assert server.queue.waiting == 100
    server.release(*(str(number) for number in range(101)), "in time")
    await asyncio.gather(*tasks)
    assert server.asked[-1] == "in time"
    await assert_all_free(server.queue)


async def test_a_text_step_is_never_refused() -> None:
    server = Server(make_queue(max_waiting=1))
    tasks = [server.start("a"), server.start("b")]
    await settle()
    with pytest.raises(QueueFullError):
        await server.start("c")
    tasks.append(server.start("text", urgent=True))
    await settle()
    server.release("a", "b", "text")
    await asyncio.gather(*tasks)
    assert server.asked == ["a", "text", "b"]


async def test_a_single_request_to_a_server_at_rest_does_not_wait() -> None:
    queue = make_queue()
    server = Server(queue)
    changes: list[int] = []
    queue.add_listener(lambda: changes.append(queue.waiting))
    task = server.start("a")
    server.release("a")
    await task
    assert changes == []


async def test_listeners_hear_of_every_change_until_they_leave() -> None:
    queue = make_queue()
    server = Server(queue)
    changes: list[int] = []
    remove = queue.add_listener(lambda: changes.append(queue.waiting))
    tasks = [server.start(name) for name in "abc"]
    await settle()
    assert changes == [1, 2]

    queue.attach(OWNER, 2)
    assert changes == [1, 2, 1]
    server.release("a", "b", "c")
    await asyncio.gather(*tasks)
    assert changes == [1, 2, 1, 0]

    remove()
    queue.attach(OWNER, 1)
    tasks = [server.start(name) for name in "ab"]
    server.release("a", "b")
    await asyncio.gather(*tasks)
    assert changes == [1, 2, 1, 0]


async def test_four_pictures_are_prepared_at_a_time_in_the_order_of_arrival() -> None:
    queue = make_queue()
    preparing: list[int] = []
    ready = [asyncio.Event() for _ in range(6)]

    async def prepare(number: int) -> None:
        async with queue.ticket(OWNER) as ticket, ticket.preparing():
            preparing.append(number)
            await ready[number].wait()

    tasks = [asyncio.create_task(prepare(number)) for number in range(6)]
    await settle()
    assert preparing == [0, 1, 2, 3]
    ready[2].set()
    await settle()
    assert preparing == [0, 1, 2, 3, 4]
    for event in ready:
        event.set()
    await asyncio.gather(*tasks)
    assert preparing == [0, 1, 2, 3, 4, 5]
    await assert_all_free(queue)


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


async def test_a_slot_given_in_the_moment_of_a_cancellation_goes_to_the_next() -> None:
    queue = make_queue()
    server = Server(queue)
    async with queue.ticket(OWNER) as ticket, ticket.turn():
        late, following = server.start("late"), server.start("following")
        await settle()
    # The slot is granted now, but its new holder has not run yet.
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    await settle()
    assert server.asked == ["following"]
    server.release("following")
    await following
    await assert_all_free(queue)


async def test_a_slot_is_not_given_to_one_who_is_cancelled_and_has_not_left_yet() -> None:
    queue = make_queue()
    server = Server(queue)
    async with queue.ticket(OWNER) as ticket, ticket.turn():
        late, following = server.start("late"), server.start("following")
        await settle()
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


# Requests a minute


async def test_the_limit_a_minute_slides_and_says_when_to_come_back() -> None:
    now = 1000.0
    limit = RateLimit(2, clock=lambda: now)
    limit.acquire()
    now = 1020.0
    limit.acquire()
    now = 1050.0
    for _ in range(2):
        with pytest.raises(RateLimitError, match="10 s") as refused:
            limit.acquire()
        assert refused.value.retry_after == 10

    now = 1060.0
    limit.acquire()
    with pytest.raises(RateLimitError) as refused:
        limit.acquire()
    assert refused.value.retry_after == 20


@pytest.mark.parametrize("per_minute", [None, 0])
async def test_without_a_limit_a_minute_everything_goes(per_minute: int | None) -> None:
    limit = RateLimit(per_minute, clock=lambda: 1000.0)
    for _ in range(1000):
        limit.acquire()
    one = RateLimit(1, clock=lambda: 1000.0)
    one.acquire()
    with pytest.raises(RateLimitError):
        one.acquire()
