"""The words of an answer, gathered from a stream, without thoughts."""

from collections import deque
import re
from typing import Final

from .errors import BadResponseError, EmptyAnswerError, IncompleteAnswerError, RepeatedTokensError

# Far beyond any description; a model that goes on and on is stopped here.
LONGEST_ANSWER: Final = 100_000
# Ollama's guard ends an answer, without a last message, after more than 30 tokens that are equal but for blanks.
_REPEATS: Final = 30
_TAG: Final = re.compile(r"(</?think>)", re.IGNORECASE)


class AnswerText:
    """Gathers an answer piece by piece."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._length = 0
        self._thought = False
        self._last: deque[str] = deque(maxlen=_REPEATS)

    @property
    def full(self) -> bool:
        """Return whether words and thoughts together are as long as an answer may be."""
        return self._length >= LONGEST_ANSWER

    def add(self, words: str, thoughts: str) -> bool:
        """Take a piece of the answer and a piece of what the model thought; return whether not both are empty."""
        self._words.append(words)
        self._length += len(words) + len(thoughts)
        self._thought = self._thought or bool(thoughts)
        if piece := words or thoughts:
            self._last.append(piece.strip())
        return bool(piece)

    def result(self) -> str:
        """Return the answer; raise EmptyAnswerError where nothing but thoughts and blanks was said."""
        words = "".join(self._words)[:LONGEST_ANSWER]
        if text := visible(words):
            return text
        thought = self._thought or words.strip()
        raise EmptyAnswerError("The model thought, but answered nothing." if thought else "The model answered nothing.")

    def unfinished(self) -> BadResponseError:
        """Return why an answer without its last message ended."""
        if len(self._last) == _REPEATS and len(set(self._last)) == 1:
            return RepeatedTokensError("The model repeated itself until the server stopped it.")
        return IncompleteAnswerError("The answer broke off.")


def visible(text: str) -> str:
    """Return a text without the model's thoughts and without what no store or screen can take."""
    words: list[str] = []
    thinking = False
    for piece in _TAG.split(text):
        match piece.lower():
            case "<think>":
                thinking = True
            case "</think>":
                if not thinking:  # some templates open the thought in the prompt
                    words.clear()
                thinking = False
            case _ if not thinking:
                words.append(piece)
    text = "".join(words)
    # Halves of surrogate pairs that came in separate pieces are joined; lone ones are replaced.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "").strip()
