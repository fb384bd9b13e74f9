"""Shows the main job on a real Home Assistant: pictures in, what an automation gets out. `scripts/demo` starts it."""

import argparse
import asyncio
import contextlib
from functools import partial
import json
from pathlib import Path
import signal
import sys
from tempfile import TemporaryDirectory
from typing import Any

from demo_errors import DemoError
from demo_house import add_device, analyze
from demo_pictures import prepare
from demo_server import model_server

from tests.real_home_assistant import PASSWORD, USERNAME, RealHomeAssistant, RealHomeAssistantError, free_port, is_free

SHIPPED = Path(__file__).with_name("front-door.jpg")
USUAL_PORT = 8123


def main() -> int:
    """Return the exit status: 0 where every picture was described."""
    arguments = _parse()
    # With --once, standard output is for programs: it gets the events and nothing else.
    tell = partial(print, file=sys.stderr if arguments.once else sys.stdout, flush=True)
    try:
        asyncio.run(_demo(arguments, tell))
    except (DemoError, RealHomeAssistantError, TimeoutError) as err:
        print(f"\n{err or 'That took too long.'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt, asyncio.CancelledError:
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Start a real Home Assistant with Ollama Vision, and let it look at pictures.",
    )
    parser.add_argument("pictures", nargs="*", default=[str(SHIPPED)], help="picture files or URLs (default: its own)")
    parser.add_argument("--server", metavar="URL", help="your own model server (default: a tiny one that sees colours)")
    parser.add_argument("--api-key", metavar="K", help="the key that the server asks for")
    parser.add_argument("--model", metavar="NAME", help="the vision model (default: the first that fits)")
    parser.add_argument("--protocol", choices=("ollama", "openai"), help="what the server speaks (default: find out)")
    parser.add_argument(
        "--once", action="store_true", help="end then; print each event as a line of JSON, the last one last"
    )
    parser.add_argument(
        "--port", type=port_number, default=0, metavar="N", help="Home Assistant's port (default: 8123, if free)"
    )
    return parser.parse_args()


def port_number(text: str) -> int:
    """Return a port as typed; raise ValueError where there is none of that number."""
    if not 0 < (port := int(text)) < 1 << 16:
        raise ValueError
    return port


async def _demo(arguments: argparse.Namespace, tell: partial[None]) -> None:
    _end_when_told()
    # With --once nobody comes to look, and two may run side by side.
    port = arguments.port or (USUAL_PORT if is_free(USUAL_PORT) and not arguments.once else free_port())
    if not is_free(port):
        raise DemoError(f"Port {port} is taken: choose another with --port, or leave that out.")
    with TemporaryDirectory(prefix="ollama-vision-demo-") as folder, contextlib.ExitStack() as servers:
        house = RealHomeAssistant(Path(folder), port=port)
        pictures = prepare(arguments.pictures, house.folder / "www")
        if arguments.server is None:
            tell("Starting a model server with a tiny model, which sees colours …")
        server = servers.enter_context(model_server(arguments))
        tell("Starting Home Assistant …")
        async with house:
            tell(f"Adding a device for {server.host} …")
            await add_device(house, server)
            for picture in pictures:
                tell(f"Looking at {picture.name} …")
                event = await analyze(house, picture)
                if arguments.once:
                    print(json.dumps(event), flush=True)
                else:
                    show(event)
            if not arguments.once:
                await _stay(house)


def show(event: dict[str, Any]) -> None:
    """Print what an automation gets."""
    print(f"\nThe event ollama_vision_image_analyzed, after {event['processing_time']} s:")
    print(json.dumps(event, indent=2, ensure_ascii=False))
    print(f"\n{event['entity_id']}: {event['final_description']}\n", flush=True)


async def _stay(house: RealHomeAssistant) -> None:
    print(f"See it in the browser: {house.url}  (user {USERNAME}, password {PASSWORD})")
    print(f"  the device and its sensors   {house.url}/config/integrations/integration/ollama_vision")
    print(f"  the action, to try it        {house.url}/config/tools/action")
    print("Ctrl-C ends it all.", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    print("\nStopping …", flush=True)


def _end_when_told() -> None:
    """Take every usual signal as Ctrl-C, so that all that was started is stopped."""
    (task,) = asyncio.all_tasks()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


if __name__ == "__main__":
    sys.exit(main())
