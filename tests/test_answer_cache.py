"""The same question twice: one call while it is under way, none while it is remembered."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from custom_components.ollama_vision.answer_cache import AnswerCache, key_of
from custom_components.ollama_vision.request_queue import QueueStoppedError, RequestQueue


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


class Model:
    """Answers a question when it is told to, and counts what it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        """Answer with the number of the call."""
        self.calls += 1
        number = self.calls
        try:
            await self.answer.wait()
            if self.error:
                raise self.error
            return f"answer {number}"
        finally:
            self.ended += 1


@pytest.fixture
async def model() -> Model:
    """Return a model that does not answer yet."""
    return Model()


@pytest.fixture
async def ready() -> Model:
    """Return a model that answers at once."""
    model = Model()
    model.answer.set()
    return model


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


def ask[T](cache: AnswerCache[T], question: Callable[[], Awaitable[T]], **how: Any) -> asyncio.Task[tuple[T, bool]]:
    """Ask in a task of its own."""
    return asyncio.create_task(cache.get("key", question, **how))


# Remembering


async def test_the_same_question_is_answered_from_memory(ready: Model) -> None:
    cache = AnswerCache[str]()
    assert await cache.get("key", ready) == ("answer 1", False)
    assert await cache.get("key", ready) == ("answer 1", True)
    assert await cache.get("another key", ready) == ("answer 2", False)
    assert ready.calls == 2


async def test_an_empty_answer_is_remembered_too() -> None:
    cache = AnswerCache[str]()

    async def nothing() -> str:
        return ""

    assert await cache.get("key", nothing) == ("", False)
    assert await cache.get("key", nothing) == ("", True)


async def test_an_answer_is_forgotten_when_it_is_too_old(ready: Model) -> None:
    clock = Clock()
    cache = AnswerCache[str](max_age=60, clock=clock)
    await cache.get("key", ready)
    clock.now += 59
    assert await cache.get("key", ready) == ("answer 1", True)
    clock.now += 1
    assert await cache.get("key", ready) == ("answer 2", False)
    clock.now += 59
    assert await cache.get("key", ready) == ("answer 2", True)


async def test_an_answers_age_counts_from_the_answer_and_not_from_the_question(model: Model) -> None:
    clock = Clock()
    cache = AnswerCache[str](max_age=60, clock=clock)
    task = ask(cache, model)
    await settle()
    clock.now += 100
    model.answer.set()
    await task
    assert await cache.get("key", model) == ("answer 1", True)


async def test_the_oldest_answer_gives_way(ready: Model) -> None:
    cache = AnswerCache[str](max_size=2)
    await cache.get("a", ready)
    await cache.get("b", ready)
    await cache.get("a", ready, fresh=True)
    await cache.get("c", ready)
    assert await cache.get("a", ready) == ("answer 3", True)
    assert await cache.get("c", ready) == ("answer 4", True)
    assert await cache.get("b", ready) == ("answer 5", False)


async def test_a_fresh_question_is_asked_again_and_its_answer_replaces_the_old_one(ready: Model) -> None:
    cache = AnswerCache[str]()
    await cache.get("key", ready)
    assert await cache.get("key", ready, fresh=True) == ("answer 2", False)
    assert await cache.get("key", ready) == ("answer 2", True)


async def test_an_error_is_not_remembered(model: Model) -> None:
    cache = AnswerCache[str]()
    model.answer.set()
    model.error = ValueError("silent")
    with pytest.raises(ValueError, match="silent"):
        await cache.get("key", model)
    model.error = None
    assert await cache.get("key", model) == ("answer 2", False)


async def test_a_failed_fresh_question_leaves_the_old_answer(ready: Model) -> None:
    cache = AnswerCache[str]()
    await cache.get("key", ready)
    ready.error = ValueError("silent")
    with pytest.raises(ValueError, match="silent"):
        await cache.get("key", ready, fresh=True)
    assert await cache.get("key", ready) == ("answer 1", True)


# Sharing


@pytest.mark.parametrize("max_age", [3600, 0])
async def test_twenty_identical_questions_are_one_call(model: Model, max_age: float) -> None:
    cache = AnswerCache[str](max_age=max_age)
    tasks = [ask(cache, model) for _ in range(20)]
    await settle()
    model.answer.set()
    assert await asyncio.gather(*tasks) == [("answer 1", False)] + [("answer 1", True)] * 19
    assert model.calls == 1


async def test_without_an_age_nothing_is_remembered(ready: Model) -> None:
    cache = AnswerCache[str](max_age=0, clock=Clock())
    assert await cache.get("key", ready) == ("answer 1", False)
    assert await cache.get("key", ready) == ("answer 2", False)


async def test_an_error_is_everybodys(model: Model) -> None:
    cache = AnswerCache[str]()
    tasks = [ask(cache, model) for _ in range(3)]
    await settle()
    model.error = ValueError("silent")
    model.answer.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes == [model.error] * 3
    assert model.calls == 1


async def test_a_fresh_question_does_not_join_and_is_the_one_that_is_joined_and_remembered(model: Model) -> None:
    cache = AnswerCache[str]()
    first = ask(cache, model)
    await settle()
    fresh = ask(cache, model, fresh=True)
    await settle()
    joined = ask(cache, model)
    await settle()
    model.answer.set()
    assert await first == ("answer 1", False)
    assert await fresh == ("answer 2", False)
    assert await joined == ("answer 2", True)
    assert await cache.get("key", model) == ("answer 2", True)


async def test_one_who_comes_in_the_moment_of_the_answer_gets_it(model: Model) -> None:
    cache = AnswerCache[str]()
    late: list[asyncio.Task[tuple[str, bool]]] = []

    async def question() -> str:
        late.append(ask(cache, model))
        return "just now"

    assert await cache.get("key", question) == ("just now", False)
    assert await late[0] == ("just now", True)
    assert model.calls == 0


# Cancellation


@pytest.mark.parametrize("leaving", [0, 1])
async def test_one_who_leaves_takes_nothing_from_the_others(model: Model, leaving: int) -> None:
    cache = AnswerCache[str]()
    tasks = [ask(cache, model), ask(cache, model)]
    await settle()
    left, stays = tasks[leaving], tasks[1 - leaving]
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    assert model.ended == 0
    model.answer.set()
    assert (await stays)[0] == "answer 1"
    assert await cache.get("key", model) == ("answer 1", True)
    assert model.calls == 1


async def test_the_call_ends_before_the_last_one_has_left(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    cache = AnswerCache[str]()
    tasks = [ask(cache, model), ask(cache, model)]
    await settle()
    before = asyncio.all_tasks()
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert model.ended == 1
    # Those two and the call: nothing lingers.
    assert len(before - asyncio.all_tasks()) == 3
    assert caplog.text == ""

    model.answer.set()
    assert await cache.get("key", model) == ("answer 2", False)


async def test_nobody_joins_a_call_that_is_ending() -> None:
    cache = AnswerCache[str]()
    closing = asyncio.Event()

    async def closes_slowly() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await closing.wait()
        raise AssertionError

    async def answers() -> str:
        return "anew"

    task = ask(cache, closes_slowly)
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    assert await cache.get("key", answers) == ("anew", False)
    closing.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await cache.get("key", closes_slowly) == ("anew", True)


async def test_a_call_that_fails_while_it_ends_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    cache = AnswerCache[str]()

    async def breaks() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("closed")
        raise AssertionError

    task = ask(cache, breaks)
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await settle()
    assert caplog.text == ""


async def test_a_fresh_call_that_is_given_up_leaves_the_one_that_came_after_it(model: Model) -> None:
    cache = AnswerCache[str]()
    first, second = ask(cache, model), ask(cache, model, fresh=True)
    await settle()
    first.cancel()
    await settle()
    assert (model.calls, model.ended) == (2, 1)
    joined = ask(cache, model)
    await settle()
    model.answer.set()
    assert await second == ("answer 2", False)
    assert await joined == ("answer 2", True)


async def test_one_who_is_cancelled_in_the_moment_of_the_answer_is_cancelled_and_the_answer_kept() -> None:
    cache = AnswerCache[str]()
    tasks: list[asyncio.Task[tuple[str, bool]]] = []

    async def question() -> str:
        tasks[0].cancel()
        return "in time"

    tasks.append(ask(cache, question))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await cache.get("key", question) == ("in time", True)


async def test_what_the_call_sets_in_its_context_stays_there() -> None:
    caller: ContextVar[str] = ContextVar("caller")
    caller.set("first")
    seen: list[str] = []

    async def question() -> str:
        seen.append(caller.get())
        caller.set("the call")
        return "answer"

    await AnswerCache[str]().get("key", question)
    assert seen == ["first"]
    assert caller.get() == "first"


# Together with the queue


async def test_an_owner_who_leaves_the_queue_takes_no_answer_from_another(model: Model) -> None:
    queue, cache = RequestQueue(), AnswerCache[str]()
    queue.attach("porch", 1)
    queue.attach("garden", 1)

    async def analyze(owner: str) -> tuple[str, bool]:
        async with queue.ticket(owner) as ticket:

            async def in_turn() -> str:
                async with ticket.turn():
                    return await model()

            return await cache.get("key", in_turn)

    porch, garden = asyncio.create_task(analyze("porch")), asyncio.create_task(analyze("garden"))
    await settle()
    queue.detach("porch")
    with pytest.raises(QueueStoppedError):
        await porch
    assert model.ended == 0

    model.answer.set()
    assert await garden == ("answer 1", True)
    assert model.calls == 1


async def test_the_last_owner_who_leaves_the_queue_ends_the_call(model: Model) -> None:
    queue, cache = RequestQueue(), AnswerCache[str]()
    queue.attach("porch", 1)

    async def analyze() -> tuple[str, bool]:
        async with queue.ticket("porch") as ticket:

            async def in_turn() -> str:
                async with ticket.turn():
                    return await model()

            return await cache.get("key", in_turn)

    tasks = [asyncio.create_task(analyze()) for _ in range(3)]
    await settle()
    queue.detach("porch")
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [QueueStoppedError] * 3
    assert (model.calls, model.ended) == (1, 1)


# Keys

QUESTION: dict[str, Any] = {
    "server": "http://127.0.0.1:11434",
    "model": "moondream:latest",
    "prompt": "What is there?",
    "pictures": ("aa", "bb"),
    "structure": {"type": "object", "properties": {"cars": {"type": "integer"}, "people": {"type": "integer"}}},
}


def test_a_key_is_the_same_in_every_run() -> None:
    assert key_of(server="http://s", model="m", prompt="Ä?", pictures=["aa"], structure=None) == (
        "954771f3d7ca0bc908ef36d3606c995fc78c00188b047826ae57da711fdc882a"
    )
    assert key_of(**QUESTION) == key_of(**dict(reversed(QUESTION.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"server": "http://127.0.0.1:11435"},
        {"model": "moondream:v2"},
        {"prompt": "What is there ?"},
        {"pictures": ("bb", "aa")},
        {"pictures": ("aa",)},
        {"pictures": ("aabb",)},
        {"structure": None},
        {"structure": {"type": "object", "properties": {"people": {"type": "integer"}, "cars": {"type": "integer"}}}},
        {"temperature": 0.5},
    ],
)
def test_another_question_has_another_key(change: dict[str, Any]) -> None:
    assert key_of(**QUESTION | change) != key_of(**QUESTION)
