"""What a result looks like where it is stored, fired and shown."""

import json
from typing import Any

from homeassistant.helpers.json import json_bytes
import pytest

from custom_components.ollama_vision.result import (
    ATTRIBUTE_BYTES,
    EVENT_BYTES,
    AnalysisResult,
    Attempt,
    fitted,
    has_slug,
    shortened,
)


def result(**changes: Any) -> AnalysisResult:
    """Return a result as an analysis makes it."""
    values: dict[str, Any] = {
        "result_id": "01kaa",
        "integration_id": "entry",
        "image_name": "Front door",
        "image_urls": ("/local/a.jpg", "/local/b.jpg"),
        "prompt": "What is there?",
        "description": "A postman.",
        "final_description": "The postman!",
        "used_text_model": True,
        "text_prompt": "Introduce: A postman.",
        "model": "moondream",
        "text_model": "llama3.1",
        "text_model_error": None,
        "data": {"people": 1},
        "truncated": False,
        "cached": False,
        "processing_time": 1.25,
        "timestamp": "2026-11-21T08:00:00+00:00",
        "attempts": (Attempt(device_id="other", error="busy"),),
    }
    return AnalysisResult(**(values | changes))


def test_a_result_survives_being_stored() -> None:
    assert AnalysisResult.from_dict(json.loads(json.dumps(result().as_dict()))) == result()


@pytest.mark.parametrize("missing", ["image_name", "attempts", "timestamp"])
def test_what_is_no_result_is_not_read_as_one(missing: str) -> None:
    stored = result().as_dict()
    del stored[missing]
    with pytest.raises(KeyError):
        AnalysisResult.from_dict(stored)


def test_the_event_has_the_fields_that_automations_use() -> None:
    assert result().as_event(device_id="d", entity_id="sensor.x", image_entity_id=None) == {
        "integration_id": "entry",
        "image_name": "Front door",
        "image_url": "/local/a.jpg",
        "image_urls": ["/local/a.jpg", "/local/b.jpg"],
        "prompt": "What is there?",
        "description": "A postman.",
        "used_text_model": True,
        "text_prompt": "Introduce: A postman.",
        "final_description": "The postman!",
        "device_id": "d",
        "entity_id": "sensor.x",
        "image_entity_id": None,
        "picture": "/api/ollama_vision/picture/entry/01kaa",
        "model": "moondream",
        "text_model": "llama3.1",
        "text_model_error": None,
        "data": {"people": 1},
        "truncated": False,
        "processing_time": 1.25,
        "timestamp": "2026-11-21T08:00:00+00:00",
        "cached": False,
        "attempts": [{"device_id": "other", "error": "busy"}],
    }


@pytest.mark.parametrize(
    "text",
    ["é" * 200_000, "\n" * 200_000, "word " * 50_000, '"\\' * 90_000, "\x00" * 50_000],
    ids=["umlauts", "lines", "words", "quotes", "nothing"],
)
def test_whatever_a_model_says_fits_into_the_recorder(text: str) -> None:
    talkative = result(
        prompt=text, description=text, final_description=text, text_prompt=text, data={"all": text}, image_urls=(text,)
    )

    event = talkative.as_event(device_id="d", entity_id="sensor.x", image_entity_id="image.x")
    attributes = talkative.as_attributes()

    assert len(json_bytes(event)) <= EVENT_BYTES < 32_768
    assert len(json_bytes(attributes)) <= ATTRIBUTE_BYTES < 16_384
    for short in (event, attributes):
        assert short["description"].endswith("…")
        assert (short["used_text_model"], short["model"], short["processing_time"]) == (True, "moondream", 1.25)


def test_what_fits_is_not_touched() -> None:
    values = {"a": "short", "b": ["list"]}
    assert fitted(values, 1000) is values


def test_long_values_share_what_the_others_leave() -> None:
    cut = fitted({"a": "x" * 600, "b": "y" * 600, "short": "z" * 100, "data": {"people": 1}}, 1000)
    assert (cut["short"], cut["data"]) == ("z" * 100, {"people": 1})
    assert len(cut["a"]) == len(cut["b"])
    assert 750 < len(json_bytes(cut)) <= 1000


def test_long_lists_are_cut_and_other_long_values_left_out() -> None:
    cut = fitted({"urls": ["x" * 90] * 100, "data": {"a": "y" * 900}, "name": "n"}, 500)
    assert 0 < len(cut["urls"]) < 100
    assert cut["data"] is None
    assert cut["name"] == "n"


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("The postman", 11, "The postman"),
        ("The postman in red", 14, "The postman…"),
        ("The postman in red", 12, "The postman…"),
        ("The postman, in red", 13, "The postman,…"),
        ("Donaudampfschifffahrt", 6, "Donau…"),
        ("前門に郵便配達員がいます", 5, "前門に郵…"),
        ("   The postman", 4, "…"),
    ],
)
def test_a_text_is_cut_on_a_word(text: str, length: int, expected: str) -> None:
    assert shortened(text, length) == expected


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        *((name, True) for name in ("Front door", "前門", "2", "½", "ꦗꦮ 2", "Unknown", "unknown!")),
        *((name, False) for name in ("!?", "", "€", "ⴰⵣⵓⵍ", "ꦗꦮ", "ᬩᬮᬶ", "𞤀𞤣𞤤𞤢𞤥")),
    ],
)
def test_a_name_needs_a_letter_or_a_digit_that_entities_can_have(name: str, usable: bool) -> None:
    assert has_slug(name) is usable
