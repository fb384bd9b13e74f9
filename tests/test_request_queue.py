"""The line of requests to one server: who is asked when, and who is refused."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from custom_components.ollama_vision.request_queue import (
    QueueFullError,
    RateLimit,
    RateLimitError,
)

from .queues import OTHER, OWNER, Server, assert_all_free, make_queue, settle

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
