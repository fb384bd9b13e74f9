"""What /v1/chat/completions of the Ollama front accepts."""

import re
from typing import Any

from . import go
from .ollama_chat import NO_PICTURES
from .ollama_models import Models, Refusal

PICTURE = re.compile(r"data:(image/(jpeg|jpg|png|webp))?;base64,")
NOT_FETCHED = "image URLs are not currently supported, please use base64 encoded data instead"


def check_completion(text: str, models: Models) -> dict[str, Any]:
    """Return the request for llama.cpp; raise the refusal of one that Ollama does not take."""
    if not text:
        raise Refusal(400, "EOF")
    try:
        body = go.loads(text, "openai.ChatCompletionRequest")
    except go.GoError as error:
        raise Refusal(400, str(error)) from None
    if not body.get("messages"):
        raise Refusal(400, "[] is too short - 'messages'")
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    has_picture = [_check_part(part) for part in parts]
    try:
        model = models.find(body.get("model"))
    except Refusal as refusal:
        raise Refusal(refusal.status, refusal.message, bare=True) from None
    if body.get("reasoning_effort") not in (None, "none") and not model.can("thinking"):
        raise Refusal(400, f'"{body["model"]}" does not support thinking', bare=True)
    if any(has_picture) and not model.can("vision"):
        raise Refusal(400, go.dumps(NO_PICTURES), bare=True)
    ignored = ["max_completion_tokens", "keep_alive"]
    if (body.get("response_format") or {}).get("type") not in ("json_schema", "json_object"):
        ignored.append("response_format")
    return {name: value for name, value in body.items() if name not in ignored}


def _check_part(part: dict[str, Any]) -> bool:
    """Return whether a part of a message is a picture."""
    if part["type"] == "text":
        return False
    if part["type"] != "image_url":
        raise Refusal(400, "invalid message format")
    address = part["image_url"]
    url = address if isinstance(address, str) else address["url"]
    if url.startswith(("http://", "https://")):
        raise Refusal(400, NOT_FETCHED)
    if not PICTURE.match(url):
        raise Refusal(400, "invalid image input")
    # llama.cpp wants the wrapping, and a type, whichever it is.
    part["image_url"] = {"url": "data:image/jpeg;base64," + url.partition(",")[2]}
    return True
