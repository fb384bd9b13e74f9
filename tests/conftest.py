"""Fixtures that every test can use."""

import pytest

import custom_components  # noqa: F401  (else the plugin's own package of that name is found)

pytest_plugins = ("tests.servers.fixtures",)


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load this integration in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")
