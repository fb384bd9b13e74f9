"""Fixtures that every test can use."""

from collections.abc import Iterator
from unittest.mock import PropertyMock, patch

import pytest

import custom_components  # noqa: F401  (else the plugin's own package of that name is found)

pytest_plugins = ("tests.automations", "tests.browser", "tests.flows", "tests.servers.fixtures")


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load this integration in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")


@pytest.fixture
def hass_config_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give each Home Assistant a folder of its own: what is seen is stored in real files."""
    return str(tmp_path_factory.mktemp("config"))


@pytest.fixture
def entity_registry_enabled_by_default() -> Iterator[None]:
    """Enable the entities that are disabled by default."""
    enabled = "homeassistant.helpers.entity.Entity.entity_registry_enabled_default"
    with patch(enabled, new_callable=PropertyMock, return_value=True):
        yield
