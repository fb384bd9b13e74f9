"""Lets the test plugin, which pins Home Assistant 2026.10, run on 2026.11; loaded with `-p tests.ha_preload`."""

import homeassistant  # noqa: F401  (must run before anything imports httpx)
from homeassistant.components import logger
from homeassistant.components.logger import helpers

if not hasattr(logger, "_clear_logger_overwrites"):
    logger._clear_logger_overwrites = helpers._clear_logger_overwrites
