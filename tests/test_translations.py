"""Every language says the same things, in the form that Home Assistant reads."""

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "custom_components" / "ollama_vision" / "translations"
LANGUAGES = ("de", "en", "es", "fr", "nb", "pt")
# What Home Assistant's own check demands of keys and texts.
KEY = re.compile(r"^(?!.+[_-]{2})(?![_-])[a-z0-9-_]+(?<![_-])$")
TAG = re.compile(r"<[a-zA-Z/]")


def read(language: str) -> dict[str, Any]:
    """Return a language's texts."""
    texts: dict[str, Any] = json.loads((FOLDER / f"{language}.json").read_text())
    return texts


def sentences(texts: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Give every text with the path of its keys."""
    for key, value in texts.items():
        where = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from sentences(value, where)
        else:
            yield where, value


def placeholders(sentence: str) -> set[str]:
    """Return what a sentence is filled with."""
    return set(re.findall(r"{(.*?)}", sentence))


def test_all_languages_are_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_and_placeholders_are_those_of_english(language: str) -> None:
    english, other = dict(sentences(read("en"))), dict(sentences(read(language)))
    assert other.keys() == english.keys()
    assert {path: placeholders(text) for path, text in other.items()} == {
        path: placeholders(text) for path, text in english.items()
    }


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_sentences_are_translated(language: str) -> None:
    """A sentence is longer than a name or a word that two languages share."""
    english = dict(sentences(read("en")))
    same = [path for path, text in sentences(read(language)) if text == english[path] and text.count(" ") > 2]
    assert not same


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_what_home_assistant_takes(language: str) -> None:
    for path, text in sentences(read(language)):
        assert text == text.strip()
        assert text, path
        assert not TAG.search(text), path
        assert all(KEY.match(key) for key in path.split(".")), path
        assert all(re.fullmatch(r"[a-z_]+", name) for name in placeholders(text)), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_files_are_in_order(language: str) -> None:
    """Keys are sorted, so that two people's changes meet as seldom as can be."""
    text = (FOLDER / f"{language}.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_errors_call_options_what_their_form_calls_them(language: str) -> None:
    texts = dict(sentences(read(language)))
    form = "options.step.init.sections"
    for option in ("asking.data.silence_first_token", "asking.data.silence_next_token"):
        assert texts[f"{form}.{option}"] in texts["exceptions.timeout.message"]
    assert texts[f"{form}.vision_answers.data.vision_max_tokens"] in texts["exceptions.truncated.message"]


def test_every_field_is_described() -> None:
    def check(texts: dict[str, Any]) -> None:
        assert texts.get("data", {}).keys() == texts.get("data_description", {}).keys()
        for part in texts.get("sections", {}).values():
            check(part)

    english = read("en")
    for kind in ("config", "options"):
        for step in english[kind]["step"].values():
            check(step)
