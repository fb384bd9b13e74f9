"""The program behind `LlamaServer`: llama.cpp's own HTTP server, from the package xllamacpp, with the tiny model."""

import argparse
from pathlib import Path
import signal
import sys
from tempfile import TemporaryDirectory

import xllamacpp

from .tiny_vlm import TinyModel, make_tiny_vlm

# A server that is not up by then will not come up; the alarm ends the process.
SECONDS_TO_START = 60


def main() -> None:
    """Serve the model until standard input ends."""
    arguments = _parse()
    signal.alarm(SECONDS_TO_START)
    with TemporaryDirectory() as folder:  # needed until the model is loaded: the server returns then, its port open
        server = xllamacpp.Server(_parameters(arguments, make_tiny_vlm(Path(folder))))
    signal.alarm(0)
    print(server.listening_address, flush=True)  # noqa: T201  (this is what the starter waits for)
    sys.stdin.read()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text-only", action="store_true")
    parser.add_argument("--api-key")
    return parser.parse_args()


def _parameters(arguments: argparse.Namespace, model: TinyModel) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model.text)
    if not arguments.text_only:
        parameters.mmproj.path = str(model.vision)
    parameters.model_alias = {arguments.alias}
    parameters.api_keys = [arguments.api_key] if arguments.api_key else []
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = arguments.port
    parameters.n_ctx = 8192
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    return parameters


if __name__ == "__main__":
    main()
