"""Which client a model server needs."""

from aiohttp import ClientSession

from .address import ServerAddress
from .errors import (
    BadResponseError,
    ModelServerAuthenticationError,
    ModelServerBusyError,
    ModelServerConnectionError,
    ModelServerError,
)
from .models import Api
from .ollama import OllamaServer
from .openai_compatible import OpenAIServer
from .transport import Transport


async def connect(
    session: ClientSession, address: ServerAddress, *, api: Api | None = None, api_key: str | None = None
) -> OllamaServer | OpenAIServer:
    """Return the client for a server, which is asked for its protocol only where `api` is None.

    Raises a ModelServerError where it has to be asked and does not tell.
    """
    transport = Transport(session, address, api_key)
    if api is None:
        api = await detect_api(session, address, api_key=api_key)
    return OllamaServer(transport) if api is Api.OLLAMA else OpenAIServer(transport)


async def detect_api(session: ClientSession, address: ServerAddress, *, api_key: str | None = None) -> Api:
    """Ask a server for its protocol; raise a ModelServerError where it speaks none, refuses the key or is away.

    Ollama is asked first: it answers OpenAI's list of models too, but the others do not know Ollama's paths.
    """
    transport = Transport(session, address, api_key)
    failures: list[ModelServerError] = []
    for server in (OllamaServer(transport), OpenAIServer(transport)):
        try:
            await server.recognise()
        except ModelServerConnectionError:
            raise
        except ModelServerError as err:
            failures.append(err)
        else:
            return server.api
    for telling in (ModelServerAuthenticationError, ModelServerBusyError):
        for failure in failures:
            if isinstance(failure, telling):
                raise failure
    raise BadResponseError(f"This is neither Ollama nor an OpenAI-compatible server: {failures[-1]}")
