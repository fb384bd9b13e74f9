"""The real llama.cpp server with the tiny model: OpenAI-compatible, and it truly looks at the picture."""

from .process import ServerProcess


class LlamaServer(ServerProcess):
    """A context manager around one llama.cpp server, ready within half a second; `url` has no path.

    It answers to any model's name and calls itself `alias`. With an `api_key` it refuses everything but /health
    without it. With `vision` false it is the text-only server that answers a picture with status 500. A `port` of 0
    is one that is free.
    """

    def __init__(
        self, *, alias: str = "tiny-vision", api_key: str | None = None, vision: bool = True, port: int = 0
    ) -> None:
        self.alias = alias
        super().__init__(
            "tests.servers.llama_process",
            f"--alias={alias}",
            f"--port={port}",
            *([] if vision else ["--text-only"]),
            *([f"--api-key={api_key}"] if api_key else []),
        )
