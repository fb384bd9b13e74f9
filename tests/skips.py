"""A plugin of pytest, loaded with `-p tests.skips`. In CI nobody reads why a test was skipped: there the run fails."""

import os

import pytest


def _forbidden(reporter: pytest.TerminalReporter) -> bool:
    return os.environ.get("CI") == "true" and bool(reporter.stats.get("skipped"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that would pass."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if session.exitstatus == pytest.ExitCode.OK and _forbidden(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so."""
    if _forbidden(terminalreporter):
        terminalreporter.write_line("A skipped test fails the run: CI is true.", red=True)
