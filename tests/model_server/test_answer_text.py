"""The words of an answer, without thoughts."""

from itertools import batched
from time import perf_counter

import pytest

from custom_components.ollama_vision.model_server.answer_text import LONGEST_ANSWER, AnswerText, visible
from custom_components.ollama_vision.model_server.errors import (
    EmptyAnswerError,
    IncompleteAnswerError,
    RepeatedTokensError,
)


def gathered(text: str) -> AnswerText:
    """Return an answer that came in pieces of two characters."""
    answer = AnswerText()
    for piece in batched(text, 2, strict=False):
        answer.add("".join(piece), "")
    return answer


SEEN = {
    "A red door.": "A red door.",
    "\n A red door. \n": "A red door.",
    "<think>Hm.</think>A red door.": "A red door.",
    "<think>\nHm.\n</think>\n\nA red door.": "A red door.",
    "<THINK>Hm.</Think>A red door.": "A red door.",
    "<think></think>A red door.": "A red door.",
    "Hm.</think>A red door.": "A red door.",
    "A red <think>Hm.</think>door.": "A red door.",
    "<think>a</think>A <think>b</think>door.": "A door.",
    "<think>a <think>b</think> c</think>A door.": "A door.",
    "A red door. <think>But was it": "A red door.",
    "a < b and c > d": "a < b and c > d",
    "It says <thinking>.": "It says <thinking>.",
    "\ud83d\ude00": "😀",
    "A\ud83d door": "A\ufffd door",
    "A\0 door": "A door",
}


def test_what_is_seen() -> None:
    """Thoughts, and what no store or screen can take, never reach the user, in however small pieces they come."""
    assert {said: gathered(said).result() for said in SEEN} == SEEN


def test_nothing_to_see() -> None:
    """An answer of blanks and thoughts is a failure that says which of them it was."""
    for said in ("", " \n"):
        with pytest.raises(EmptyAnswerError, match=r"^The model answered nothing\.$"):
            gathered(said).result()
    for said in ("<think>Hm.</think>", "<think>Hm.", "<think>", "Hm.</think> "):
        with pytest.raises(EmptyAnswerError, match=r"^The model thought, but answered nothing\.$"):
            gathered(said).result()


def test_thoughts_beside_the_words() -> None:
    """Thoughts that come in a field of their own are never words."""
    answer = AnswerText()
    assert answer.add("", "Hm.")
    assert answer.add(" ", "")
    assert not answer.add("", "")
    with pytest.raises(EmptyAnswerError, match="thought, but answered nothing"):
        answer.result()
    answer.add("A door.", "")
    assert answer.result() == "A door."


def test_the_longest_answer() -> None:
    """An answer without an end is cut; endless thoughts end too."""
    answer = AnswerText()
    answer.add("a" * (LONGEST_ANSWER - 1), "")
    assert not answer.full
    answer.add("bcd", "")
    assert answer.full
    assert answer.result() == "a" * (LONGEST_ANSWER - 1) + "b"
    thinking = AnswerText()
    thinking.add("", "a" * LONGEST_ANSWER)
    assert thinking.full


def test_nothing_takes_long() -> None:
    """The longest answers, made to be awkward, are read in an instant: this happens on the event loop."""
    started = perf_counter()
    for awkward in ("a", "<", "<think>", "</think>", "<think></think>", "<think", "\ud83d"):
        visible(awkward * (LONGEST_ANSWER // len(awkward)))
    assert perf_counter() - started < 1


def test_an_end_without_a_last_message() -> None:
    """Many equal tokens, said or thought, are the guard against repetition; everything else broke off."""
    ends: list[tuple[list[str], type[Exception]]] = [
        ([], IncompleteAnswerError),
        (["A", " door"], IncompleteAnswerError),
        (["A"] + ["}"] * 29, IncompleteAnswerError),
        (["A"] + ["}"] * 30, RepeatedTokensError),
        (["A"] + ["\n", " \n"] * 15, RepeatedTokensError),
        ([" the", "the ", ""] * 15, RepeatedTokensError),
        (["ha", "hi"] * 30, IncompleteAnswerError),
    ]
    for pieces, error in ends:
        said, thought = AnswerText(), AnswerText()
        for piece in pieces:
            said.add(piece, "")
            thought.add("", piece)
        assert (pieces, type(said.unfinished())) == (pieces, error)
        assert (pieces, type(thought.unfinished())) == (pieces, error)
