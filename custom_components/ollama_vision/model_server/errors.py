"""What can go wrong with a model server.

Messages are the server's own words, unwrapped, or a short English sentence where it said nothing. They hold no
credentials. What a person reads is translated where Home Assistant is known.
"""


class ModelServerError(Exception):
    """Root of everything that a model server or the way to it can do wrong."""


class ModelServerConnectionError(ModelServerError):
    """The server cannot be reached, or the connection broke."""


class ModelServerTimeoutError(ModelServerConnectionError):
    """The server was silent for longer than the limit."""


class ModelServerAuthenticationError(ModelServerError):
    """The server or a proxy in front of it refuses the key (401, 403)."""


class ModelNotFoundError(ModelServerError):
    """The server does not have the model."""


class ModelServerBusyError(ModelServerError):
    """The server has too much to do (429, 503, maximum pending requests)."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Keep the seconds of the server's Retry-After, if it sent any."""
        super().__init__(message)
        self.retry_after = retry_after


class ModelCannotSeeError(ModelServerError):
    """The model was sent a picture and takes text only."""


class BadResponseError(ModelServerError):
    """The server refused the request, failed on it, or answered with something else than its protocol."""


class IncompleteAnswerError(BadResponseError):
    """The answer ended without its last message."""


class RepeatedTokensError(BadResponseError):
    """The server's guard against endless repetition ended the answer."""


class EmptyAnswerError(ModelServerError):
    """The model answered with nothing, or with nothing but thoughts."""
