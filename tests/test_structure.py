"""Structured answers: what fits, what does not, how it reads."""

import json
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
        ('{"people": "2"}', "expected number at 'people'"),
        ('{"people": "nan"}', "expected number at 'people'"),
        ('{"people": true}', "expected number at 'people'"),
        ('{"people": 1e999}', "not JSON"),
        ('{"people": 1, "colour": "green"}', "colour"),
        ('{"people": 1, "cats": 2}', "cats"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(answer: str, reason: str) -> None:
    with pytest.raises(StructureMismatchError, match=reason):
        structure(FIELDS).parse(answer)


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ({"boolean": {}}, ["true", "false"], ['"no"', '""', "0", "1", "[]", '{"a": 1}']),
        ({"number": {}}, ["2", "2.5"], ['"2"', '"nan"', "true", "[2]"]),
        ({"color_rgb": {}}, ["[1, 2, 3]"], ['["1", "2", "3"]', "[1, 2, true]"]),
        ({"constant": {"value": 1}}, ["1"], ["true", "1.0"]),
        ({"entity": {}}, ['"sensor.a"'], ["2.5"]),
        ({"text": {}}, ['""', '"2"'], ["2", "true", "[]"]),
        ({"text": {"multiple": True}}, ["[]", '["2"]'], ['"2"', "[2]", "[null]"]),
        ({"select": {"options": ["1", "2"]}}, ['"1"'], ["1", '["1"]', "true"]),
        ({"select": {"options": ["1", "2"], "multiple": True}}, ["[]", '["1"]'], ['"1"', "[1]", '["1", "1", 2]']),
        ({"object": {}}, ["{}", '{"a": [{"b": true}, 1]}'], ["[]", '"a"', "1"]),
        (
            {"object": {"fields": {"open": {"selector": {"boolean": {}}}, "count": {"selector": {"number": {}}}}}},
            ["{}", '{"open": true, "count": 2}'],
            ['{"open": "no"}', '{"count": "2"}', "[]"],
        ),
        (
            {"object": {"multiple": True, "fields": {"count": {"selector": {"number": {}}}}}},
            ["[]", '[{"count": 2}, {}]'],
            ["{}", '{"count": 2}', "[1]", "[null]", '["a"]', '[{"count": 2}, {"count": "2"}]'],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_answer_has_the_json_types_that_were_asked_for(
    field: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    wanted = structure({"field": {"selector": field}})
    for value in right:
        assert wanted.parse(f'{{"field": {value}}}') == {"field": json.loads(value)}
    for value in wrong:
        with pytest.raises(StructureMismatchError):
            pytest.fail(f"{value} became {wanted.parse(f'{{"field": {value}}}')}")


def test_the_place_of_a_wrong_type_is_named() -> None:
    objects = TASKS["objects"].structure
    assert objects is not None
    with pytest.raises(StructureMismatchError, match=r"expected number at 'objects\.1\.count'"):
        objects.parse('{"objects": [{"name": "car", "count": 1}, {"name": "dog", "count": "one"}]}')


def test_numbers_of_an_ai_task_are_finite() -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(StructureMismatchError, match="people"):
            structure(FIELDS).check({"people": number})


def test_what_a_model_does_not_know_is_left_out_at_every_level() -> None:
    plates = TASKS["license_plate"].structure
    assert plates is not None
    assert plates.parse('{"plates": [{"plate": "AB 12345", "vehicle": null}]}') == {"plates": [{"plate": "AB 12345"}]}
    with pytest.raises(StructureMismatchError, match="plate"):
        plates.parse('{"plates": [{"plate": null, "vehicle": "van"}]}')


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_an_answer_that_is_too_deep_to_be_stored_does_not_fit(opening: str, closing: str) -> None:
    anything = structure({"field": {"selector": {"object": {}}}})

    def nested(levels: int) -> str:
        return f'{{"field": {{"a": {opening * levels}0{closing * levels}}}}}'

    assert anything.parse(nested(97)) == json.loads(nested(97))
    for levels in (98, 300, 1000):
        with pytest.raises(StructureMismatchError, match="too deep"):
            anything.parse(nested(levels))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"people": 2.0, "open_door": True, "light": False}, "People: 2; Open door: yes; Light: no"),
        ({"height": 1.5, "colours": ["red", "blue"], "cats": []}, "Height: 1.5; Colours: red, blue; Cats: –"),
        ({"colour": "", "note": " \n", "door": {}, "none": [""]}, "Colour: –; Note: –; Door: –; None: –"),
        ({}, "–"),
        (
            {"objects": [{"name": "car", "count": 2}, {"name": "dog", "count": 1}]},
            "Objects: name: car, count: 2 | name: dog, count: 1",
        ),
    ],
)
def test_data_reads_as_a_line(data: dict[str, Any], text: str) -> None:
    assert readable(data) == text


@pytest.mark.parametrize(("text", "reads"), [("EXIT\n  ONLY\n", "EXIT\n  ONLY\n"), ("", "–"), (" \n", "–")])
def test_one_field_can_read_alone(text: str, reads: str) -> None:
    assert readable({"text": text, "language": "English"}, "text") == reads


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
    ("task", "answer", "lacking"),
    [
        ("ocr", '{"text": "EXIT"}', []),
        (
            "license_plate",
            '{"plates": [{"plate": "AB 12345", "vehicle": "van"}, {"plate": "CD 6"}]}',
            ['{"plates": [{"vehicle": "van"}]}'],
        ),
        ("count", '{"people": 1, "animals": 0, "vehicles": 2}', ['{"people": 1, "animals": 0}']),
        (
            "objects",
            '{"objects": [{"name": "parcel", "count": 1}]}',
            ['{"objects": [{"name": "parcel"}]}', '{"objects": [{"count": 1}]}'],
        ),
    ],
)
def test_the_structured_tasks_take_the_answers_they_ask_for(task: str, answer: str, lacking: list[str]) -> None:
    wanted = TASKS[task].structure
    assert wanted is not None
    assert wanted.parse(answer)
    for wrong in ('{"else": 1}', "{}", *lacking):
        with pytest.raises(StructureMismatchError):
            pytest.fail(f"{wrong} became {wanted.parse(wrong)}")
