"""Fixtures that every test can use."""

import pytest

import custom_components.ollama_vision  # noqa: F401  (else the plugin's own custom_components package is found)


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load this integration in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")
