"""The modules depend on each other one way, as a newcomer reads them: from the ground up."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "custom_components/ollama_vision"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
LONGEST = 400

# These run without Home Assistant.
PURE = {"answer_cache", "const", "preprocessing", "public_url", "request_queue"}
# From the ground up: a module imports from its own floor and from those below. `model_server` is the cellar. What is
# not named here is a door for people, automations and Home Assistant, above all of these and below `__init__`.
FLOORS = (
    PURE | {"structure", "tasks", "result", "faults", "image_errors", "migration"},
    {
        *("image_download", "image_reference", "image_source", "result_files", "history"),
        *("server_settings", "server_check", "coordinator"),
    },
    {"asking", "look", "fallback", "analysis", "forgetting"},
)


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Give the full names of what a module imports, its own package's without a prefix, and how many dots it takes."""
    package = name.split(".")[:-1]
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", 0
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1]
            base = [*above, *(node.module.split(".") if node.module else [])]
            names = [".".join(base)] if node.module else [".".join([*base, alias.name]) for alias in node.names]
            yield from ((imported or "__init__", node.level) for imported in names)


def own_imports(name: str) -> set[str]:
    """Return the modules of this integration that a module imports."""
    return {imported for imported, dots in imports(name) if dots}


def floor(name: str) -> int:
    """Return how high a module is."""
    if name.startswith("model_server"):
        return 0
    if name == "__init__":
        return len(FLOORS) + 2
    return next((height for height, names in enumerate(FLOORS, start=1) if name in names), len(FLOORS) + 1)


def is_pure(name: str) -> bool:
    """Return whether a module must do without Home Assistant."""
    return name in PURE or name.startswith("model_server")


def test_the_modules_that_are_named_here_exist() -> None:
    assert set.union(*FLOORS) <= MODULES.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if is_pure(name)])
def test_a_pure_module_imports_no_home_assistant(name: str) -> None:
    outside = {imported.split(".")[0] for imported, dots in imports(name) if not dots}
    assert not outside & {"homeassistant", "voluptuous", "probatio"}
    assert all(is_pure(imported) for imported in own_imports(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("model_server")])
def test_the_wire_protocols_stand_alone(name: str) -> None:
    assert all(imported.startswith("model_server") for imported in own_imports(name))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_its_own_floor_and_below(name: str) -> None:
    above = {imported for imported in own_imports(name) if floor(imported) > floor(name)}
    assert not above, f"{name} stands below {above}: one of them is on the wrong floor, see FLOORS"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_the_wiring(name: str) -> None:
    assert own_imports(name) <= MODULES.keys() - {"__init__"}  # a name that is no module would be the wiring's
    assert not [imported for imported, _ in imports(name) if imported.startswith("custom_components")]


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {name: own_imports(name) & MODULES.keys() for name in MODULES}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_is_short_enough_to_read_at_once(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST
