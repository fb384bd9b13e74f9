"""The files around the code say the same as the code, and what Home Assistant and HACS read is as they want it."""

import ast
from collections.abc import Iterable, Iterator
import json
from pathlib import Path
import re
import subprocess
import tomllib
from typing import Any

from awesomeversion import AwesomeVersion
from homeassistant.const import Platform
from homeassistant.helpers.service import _SERVICES_SCHEMA
from homeassistant.util.yaml import load_yaml_dict
from PIL import Image
import pytest

from custom_components.ollama_vision.const import DOMAIN, AnalysisFault

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "custom_components" / DOMAIN
GITHUB = "https://github.com/remimikalsen/ollama_vision"
TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


def read_json(path: Path) -> dict[str, Any]:
    """Return what is in a file."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


MANIFEST = read_json(PACKAGE / "manifest.json")
ENGLISH = read_json(PACKAGE / "translations/en.json")
ICONS = read_json(PACKAGE / "icons.json")
SERVICES = load_yaml_dict(str(PACKAGE / "services.yaml"))


def tracked() -> list[Path]:
    """Return the files that are part of the repository."""
    command = ["git", "ls-files", "-z"]  # the git that is on the path
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603  (our own command)
    return [path for name in names.decode().split("\0") if name and (path := ROOT / name).is_file()]


def fields(service: dict[str, Any]) -> dict[str, Any]:
    """Return an action's fields, those in folded sections among them."""
    found: dict[str, Any] = {}
    for name, field in (service or {}).get("fields", {}).items():
        found |= field.get("fields", {name: field})
    return found


def sections(service: dict[str, Any]) -> set[str]:
    """Return the names of an action's folded sections."""
    return {name for name, field in (service or {}).get("fields", {}).items() if "fields" in field}


def calls(*names: str) -> Iterator[ast.Call]:
    """Give the calls of functions, methods and classes by name."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
                if called in names:
                    yield node


def words(tree: ast.AST) -> set[str]:
    """Return the strings in code, each as a pattern: what is filled in can be any word."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"\w+" for part in node.values]
            found.add("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(re.escape(node.value))
    return found


def says(patterns: set[str], key: str) -> bool:
    """Return whether code has a key among its strings."""
    return any(re.fullmatch(pattern, key) for pattern in patterns if re.search(r"\w{3}", pattern.replace(r"\w+", "")))


ALL_WORDS = set[str]().union(*map(words, TREES.values()))


def test_the_manifest_is_as_home_assistant_wants_it() -> None:
    keys = list(MANIFEST)
    assert keys == ["domain", "name", *sorted(keys[2:])]
    assert MANIFEST["domain"] == PACKAGE.name
    assert MANIFEST["codeowners"] == ["@remimikalsen"]
    assert MANIFEST["documentation"] == GITHUB
    assert MANIFEST["issue_tracker"] == f"{GITHUB}/issues"
    assert MANIFEST["requirements"] == []
    assert MANIFEST["config_flow"] is True
    assert (PACKAGE / "config_flow.py").exists()
    assert [path.name for path in PACKAGE.parent.iterdir() if path.is_dir() and path.name != "__pycache__"] == [DOMAIN]


def test_every_component_that_is_imported_is_a_dependency() -> None:
    # Platforms of entities are always there, and some components load the module that imports them.
    given = {*Platform, "diagnostics", "homeassistant", "llm", "logbook", "recorder", "repairs", "system_health"}
    imported = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "homeassistant.components":
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("homeassistant.components."):
                imported.add(str(node.module).split(".")[2])
    listed = {*MANIFEST.get("dependencies", ()), *MANIFEST.get("after_dependencies", ())}
    assert imported - given <= listed


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == MANIFEST["version"] == AwesomeVersion(MANIFEST["version"])
    assert f"## {MANIFEST['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_hacs_finds_what_it_wants() -> None:
    hacs = read_json(ROOT / "hacs.json")
    assert hacs.keys() <= {"filename", "hacs", "homeassistant", "name", "render_readme", "zip_release"}
    assert hacs["name"] == MANIFEST["name"]
    assert hacs["homeassistant"] == "2026.10.0"
    assert hacs["zip_release"] is True
    assert hacs["filename"] in (ROOT / ".github/workflows/release.yml").read_text()
    assert (ROOT / "README.md").exists()


@pytest.mark.parametrize(
    ("name", "height"),
    [(f"{kind}{suffix}", 256 * (1 + bool(suffix))) for kind in ("icon", "logo", "dark_logo") for suffix in ("", "@2x")],
)
def test_brand_images_have_their_sizes(name: str, height: int) -> None:
    with Image.open(PACKAGE / "brand" / f"{name}.png") as image:
        assert image.format == "PNG"
        assert image.height == height
        assert image.width == height or "logo" in name
        box = image.getbbox()
        assert box is not None
        assert box[1::2] == (0, height)  # no empty edge above and below
        assert image.getchannel("A").getpixel((0, 0)) == 0


def test_the_actions_are_described_as_home_assistant_wants_it() -> None:
    _SERVICES_SCHEMA(SERVICES)
    assert SERVICES.keys() == ENGLISH["services"].keys() == ICONS["services"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_an_action_and_its_texts_and_icons_name_the_same(name: str) -> None:
    service, texts, icons = SERVICES[name], ENGLISH["services"][name], ICONS["services"][name]
    assert texts["name"]
    assert texts["description"]
    assert fields(service).keys() == texts.get("fields", {}).keys()
    assert all({"name", "description"} <= field.keys() for field in texts.get("fields", {}).values())
    assert sections(service) == texts.get("sections", {}).keys() == icons.get("sections", {}).keys()


def test_every_choice_of_an_action_has_a_text() -> None:
    selects = [
        field["selector"]["select"]
        for service in SERVICES.values()
        for field in fields(service).values()
        if "select" in field["selector"]
    ]
    assert selects
    for select in selects:
        assert set(select["options"]) == ENGLISH["selector"][select["translation_key"]]["options"].keys()


def test_icons_are_icons() -> None:
    def check(icons: dict[str, Any]) -> None:
        for value in icons.values():
            if isinstance(value, dict):
                check(value)
            else:
                assert re.fullmatch(r"mdi:[a-z0-9-]+", value)

    check(ICONS)
    assert ICONS.keys() <= {"entity", "services"}


@pytest.mark.parametrize("platform", sorted({*ENGLISH["entity"], *ICONS["entity"]}))
def test_every_entity_with_a_text_or_an_icon_exists(platform: str) -> None:
    keys = {*ENGLISH["entity"].get(platform, ()), *ICONS["entity"].get(platform, ())}
    assert not [key for key in keys if not says(words(TREES[platform]), key)]


def test_every_sentence_of_an_exception_is_said() -> None:
    faults = {fault.value for fault in AnalysisFault}
    assert not [key for key in ENGLISH["exceptions"] if key not in faults and not says(ALL_WORDS, key)]


def spoken(places: Iterable[ast.AST]) -> set[str]:
    """Return the keys of sentences in the arguments of a call or the row of a table: a fault alone has its own name."""
    nodes = list(places)
    keys = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    faults = {node.attr for node in nodes if isinstance(node, ast.Attribute)} & set(AnalysisFault.__members__)
    return keys or {AnalysisFault[fault].value for fault in faults}


def test_every_exception_has_a_sentence() -> None:
    keys = set()
    for call in calls(
        "AnalysisError", "HomeAssistantError", "ImageSourceError", "ServiceValidationError", "error", "_invalid"
    ):
        keys |= spoken([*call.args, *(word.value for word in call.keywords if word.arg in {"key", "translation_key"})])
    for row in ast.walk(TREES["faults"]):
        if isinstance(row, ast.Tuple):
            keys |= spoken(row.elts)
    assert {"cannot_connect", "no_device", "stopping"} <= keys
    assert keys <= ENGLISH["exceptions"].keys()


@pytest.mark.parametrize("kind", ["error", "abort", "progress"])
def test_every_word_of_a_flow_is_said(kind: str) -> None:
    cores_own = {"reauth_successful", "reconfigure_successful"}
    texts = ENGLISH["config"].get(kind, {}).keys() - cores_own
    assert not [key for key in texts if not says(ALL_WORDS, key)]


def test_every_step_of_a_flow_exists() -> None:
    for flow, module in (("config", "config_flow"), ("options", "options_flow")):
        steps = {
            node.name.removeprefix("async_step_")
            for node in ast.walk(TREES[module])
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("async_step_")
        }
        assert ENGLISH[flow]["step"].keys() <= steps


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    telling = re.compile(
        rb"pypi[.]org|pythonhosted[.]|registry[.]npmjs|deb[.]debian|debian[.]org/debian|proxy[.]golang|crates[.]io"
        rb"|(?<![\w.-])/(?:work|root|home/[a-z]+)/[\w.]"
    )
    found = {
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in tracked()
        if path.suffix not in {".avif", ".gif", ".jpg", ".png", ".tiff", ".webp"}
        if (match := telling.search(path.read_bytes()))
    }
    assert not found


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").iterdir()), ids=lambda path: path.name)
def test_a_workflow_may_do_nothing_but_what_it_says(path: Path) -> None:
    workflow = load_yaml_dict(str(path))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"].keys() == {"contents"}
        actions = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions)


@pytest.mark.parametrize("path", sorted((ROOT / "scripts/requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_tool_has_one_exact_version(path: Path) -> None:
    lines = [line.split(";")[0].strip() for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==[\w.+!-]+", line)]
