"""The failures of an analysis, as a person and an automation meet them."""

from typing import Final

from homeassistant.exceptions import HomeAssistantError

from .const import DOMAIN, AnalysisFault
from .model_server.errors import (
    EmptyAnswerError,
    IncompleteAnswerError,
    ModelCannotSeeError,
    ModelNotFoundError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
    ModelServerTimeoutError,
    RepeatedTokensError,
)

# Another device may do better: this one's server never got to answering.
PASSED_OVER: Final = frozenset(
    {
        AnalysisFault.CANNOT_CONNECT,
        AnalysisFault.AUTHENTICATION,
        AnalysisFault.MODEL_NOT_FOUND,
        AnalysisFault.BUSY,
    }
)

# The first class that fits names the fault and its sentence: subclasses stand before their parents.
_SERVER_FAULTS: Final[tuple[tuple[type[ModelServerError], AnalysisFault, str], ...]] = (
    (ModelServerTimeoutError, AnalysisFault.TIMEOUT, "timeout"),
    (ModelServerConnectionError, AnalysisFault.CANNOT_CONNECT, "cannot_connect"),
    (ModelServerAuthenticationError, AnalysisFault.AUTHENTICATION, "authentication"),
    (ModelNotFoundError, AnalysisFault.MODEL_NOT_FOUND, "model_not_found"),
    (ModelServerBusyError, AnalysisFault.BUSY, "busy"),
    (ModelCannotSeeError, AnalysisFault.CANNOT_SEE, "cannot_see"),
    (IncompleteAnswerError, AnalysisFault.BAD_RESPONSE, "incomplete_answer"),
    (RepeatedTokensError, AnalysisFault.BAD_RESPONSE, "repeated_tokens"),
    (EmptyAnswerError, AnalysisFault.EMPTY_ANSWER, "empty_answer"),
    (ModelServerError, AnalysisFault.BAD_RESPONSE, "bad_response"),
)


class AnalysisError(HomeAssistantError):
    """A failure with its name from the closed list and a translated sentence."""

    def __init__(self, fault: AnalysisFault, key: str | None = None, **placeholders: str) -> None:
        """Take the sentence `exceptions.<key>.message`, the one named like the fault where no key is given."""
        super().__init__(
            translation_domain=DOMAIN, translation_key=key or fault.value, translation_placeholders=placeholders
        )
        self.fault = fault


def from_server_error(error: ModelServerError, **placeholders: str) -> AnalysisError:
    """Return the fault that a model server's error is; `detail` is what the server said."""
    detail = str(error).rstrip(". ")  # it stands in the middle of a sentence
    fault, key = next((fault, key) for kind, fault, key in _SERVER_FAULTS if isinstance(error, kind))
    return AnalysisError(fault, key, detail=detail, **placeholders)
