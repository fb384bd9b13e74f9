"""A session as Home Assistant's, without Home Assistant."""

from collections.abc import AsyncIterator

from aiohttp import ClientSession
import pytest


@pytest.fixture
async def session(socket_enabled: None) -> AsyncIterator[ClientSession]:
    """Open a session."""
    async with ClientSession() as opened:
        yield opened
