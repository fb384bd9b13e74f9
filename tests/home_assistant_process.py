"""The program behind `RealHomeAssistant`: Home Assistant as it is, but on 127.0.0.1 alone and gone with its starter."""

import os
import signal
import sys
from threading import Thread
from typing import Any

from homeassistant import __main__
from homeassistant.components import zeroconf
from homeassistant.core import HomeAssistant
from zeroconf import IPVersion


def main() -> int:
    """Run until standard input ends or a signal says so, and return the exit status."""
    zeroconf._async_get_zc_args = _loopback_alone
    Thread(target=_end_with_starter, daemon=True).start()
    return __main__.main()


def _loopback_alone(hass: HomeAssistant) -> dict[str, Any]:
    """Keep mDNS, which resolves names, at home: Home Assistant would listen on every network; no setting says no."""
    return {"interfaces": ["127.0.0.1"], "ip_version": IPVersion.V4Only, "unicast": True}


def _end_with_starter() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
