"""The Ollama front answers as the real Ollama did."""

from aiohttp import ClientSession

from .ollama_front import OllamaFront


async def test_requests_are_recorded(ollama_front: OllamaFront) -> None:
    """A test can count calls and look at what was sent."""
    async with ClientSession() as session:
        body = {"model": "tiny-vision", "messages": [], "keep_alive": "5m"}
        await session.post(f"{ollama_front.url}/api/chat", json=body)
    assert ollama_front.bodies("/api/chat") == [body]
