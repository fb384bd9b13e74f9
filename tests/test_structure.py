"""Structured answers: what fits, what does not, how it reads."""

from typing import Any

import pytest
import voluptuous as vol

from custom_components.ollama_vision.structure import StructureMismatchError, readable, structure
from custom_components.ollama_vision.tasks import TASKS

FIELDS: dict[str, Any] = {
    "people": {"description": "How many", "required": True, "selector": {"number": {"min": 0}}},
    "colour": {"selector": {"select": {"options": ["red", "blue"]}}},
}


def test_the_json_schema_is_what_a_model_server_takes() -> None:
    assert structure(FIELDS).json_schema == {
        "type": "object",
        "properties": {
            "people": {"type": "number", "minimum": 0.0, "description": "How many"},
            "colour": {"type": "string", "enum": ["red", "blue"]},
        },
        "required": ["people"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        [],
        "people",
        {"people": {}},
        {"people": {"selector": {"nothing": {}}}},
        {"people": {"selector": {"number": {}}, "extra": 1}},
        {1: {"selector": {"number": {}}}},
    ],
)
def test_fields_that_are_none_are_refused(fields: Any) -> None:
    with pytest.raises(vol.Invalid):
        structure(fields)


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        ('{"people": 2, "colour": "red"}', {"people": 2, "colour": "red"}),
        ('{"people": 2, "colour": null}', {"people": 2}),
        (' {"people": 0}\n\n', {"people": 0}),
    ],
)
def test_an_answer_that_fits_becomes_data(answer: str, data: dict[str, Any]) -> None:
    assert structure(FIELDS).parse(answer) == data


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Two people.", "not JSON"),
        ("", "not JSON"),
        ('{"people": ', "not JSON"),
        ('{"people": 1, "colour": "\\ud83d"}', "not JSON"),
        ("[2]", "not an object"),
        ('{"colour": "red"}', "people"),
        ('{"people": null}', "people"),
        ('{"people": "many"}', "people"),
        ('{"people": -1}', "people"),
        ('{"people": 1, "colour": "green"}', "colour"),
        ('{"people": 1, "cats": 2}', "cats"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(answer: str, reason: str) -> None:
    with pytest.raises(StructureMismatchError, match=reason):
        structure(FIELDS).parse(answer)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"people": 2.0, "open_door": True, "light": False}, "People: 2; Open door: yes; Light: no"),
        ({"height": 1.5, "colours": ["red", "blue"], "cats": []}, "Height: 1.5; Colours: red, blue; Cats: –"),
        (
            {"objects": [{"name": "car", "count": 2}, {"name": "dog", "count": 1}]},
            "Objects: name: car, count: 2 | name: dog, count: 1",
        ),
    ],
)
def test_data_reads_as_a_line(data: dict[str, Any], text: str) -> None:
    assert readable(data) == text


def test_each_task_of_the_contract_has_a_prompt_of_its_own() -> None:
    assert set(TASKS) == {
        "brief",
        "detailed",
        "technical",
        "ocr",
        "license_plate",
        "count",
        "objects",
        "compare",
        "chart",
        "code",
    }
    assert len({task.prompt for task in TASKS.values()}) == len(TASKS)
    assert {name for name, task in TASKS.items() if task.structure} == {"ocr", "license_plate", "count", "objects"}
    assert {name for name, task in TASKS.items() if task.fine_detail} == {"ocr", "license_plate", "chart", "code"}


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("ocr", '{"text": "EXIT"}'),
        ("license_plate", '{"plates": [{"plate": "AB 12345", "vehicle": "van"}]}'),
        ("count", '{"people": 1, "animals": 0, "vehicles": 2}'),
        ("objects", '{"objects": [{"name": "parcel", "count": 1}]}'),
    ],
)
def test_the_structured_tasks_take_the_answers_they_ask_for(task: str, answer: str) -> None:
    wanted = TASKS[task].structure
    assert wanted is not None
    assert wanted.parse(answer)
    with pytest.raises(StructureMismatchError):
        wanted.parse('{"else": 1}')
