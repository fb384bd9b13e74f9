"""What `quality_scale.yaml` claims is true, as far as reading the code can tell; the rest has its own tests."""

import ast
import json
from pathlib import Path
from typing import Any

from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.ollama_vision import PLATFORMS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "custom_components/ollama_vision"
RULES: dict[str, Any] = load_yaml_dict(str(PACKAGE / "quality_scale.yaml"))["rules"]
README = (ROOT / "README.md").read_text()
MANIFEST = json.loads((PACKAGE / "manifest.json").read_text())

# Home Assistant's rules, as its developer documentation lists them: bronze 20, silver 10, gold 21, platinum 3.
ALL_RULES = (
    *("action-setup", "appropriate-polling", "brands", "common-modules", "config-flow-test-coverage", "config-flow"),
    *("dependency-transparency", "docs-actions", "docs-triggers", "docs-conditions", "docs-high-level-description"),
    *("docs-installation-instructions", "docs-removal-instructions", "entity-event-setup", "entity-unique-id"),
    *("has-entity-name", "runtime-data", "test-before-configure", "test-before-setup", "unique-config-entry"),
    *("action-exceptions", "config-entry-unloading", "docs-configuration-parameters", "docs-installation-parameters"),
    *("entity-unavailable", "integration-owner", "log-when-unavailable", "parallel-updates"),
    *("reauthentication-flow", "test-coverage", "devices", "diagnostics", "discovery-update-info", "discovery"),
    *("docs-data-update", "docs-examples", "docs-known-limitations", "docs-supported-devices"),
    *("docs-supported-functions", "docs-troubleshooting", "docs-use-cases", "dynamic-devices", "entity-category"),
    *("entity-device-class", "entity-disabled-by-default", "entity-translations", "exception-translations"),
    *("icon-translations", "reconfiguration-flow", "repair-issues", "stale-devices"),
    *("async-dependency", "inject-websession", "strict-typing"),
)

# What a reader finds in the README for each rule about documentation.
DOCUMENTED = {
    "docs-actions": "## The actions",
    "docs-configuration-parameters": "*Configure* has the options",
    "docs-data-update": "asked once a minute",
    "docs-examples": "## Recipes",
    "docs-high-level-description": "Lets Home Assistant look at pictures",
    "docs-installation-instructions": "## Install",
    "docs-installation-parameters": "### Setup fields",
    "docs-known-limitations": "## Good to know",
    "docs-removal-instructions": "## Remove it",
    "docs-supported-devices": "### Which servers",
    "docs-supported-functions": "## What a device brings",
    "docs-troubleshooting": "## When something is wrong",
    "docs-use-cases": "## Tell your phone who is at the door",
}


def test_every_rule_is_answered() -> None:
    assert sorted(RULES) == sorted(ALL_RULES)
    for rule, answer in RULES.items():
        assert answer == "done" or (answer["status"] == "exempt" and len(answer["comment"]) > 20), rule


@pytest.mark.parametrize("rule", [rule for rule in ALL_RULES if rule.startswith("docs-")])
def test_what_is_documented_is_found(rule: str) -> None:
    if RULES[rule] == "done":
        assert DOCUMENTED[rule] in README
    else:
        assert rule not in DOCUMENTED


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_says_how_many_updates_run_at_once(platform: str) -> None:
    module = ast.parse((PACKAGE / f"{platform}.py").read_text())
    assigned = [ast.unparse(target) for node in module.body if isinstance(node, ast.Assign) for target in node.targets]
    assert "PARALLEL_UPDATES" in assigned


def test_it_needs_nothing_that_home_assistant_does_not_bring() -> None:
    assert MANIFEST["requirements"] == []
    assert MANIFEST["codeowners"] == ["@remimikalsen"]


@pytest.mark.parametrize("name", ["diagnostics", "repairs", "system_health", "config_flow"])
def test_the_parts_that_the_rules_ask_for_are_there(name: str) -> None:
    assert (PACKAGE / f"{name}.py").is_file()
