"""A test that is skipped is named with its reason, and fails the run where CI is true."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_that_passes():
    pass

@pytest.mark.skip("no cat is here")
def test_with_a_cat():
    pass
"""


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skipped_test_fails_the_run_in_ci_alone(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_cats.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(  # noqa: S603  (our own program)
        command, cwd=ROOT, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False
    )
    assert "test_cats.py::test_with_a_cat - Skipped: no cat is here" in run.stdout
    assert "1 passed, 1 skipped" in run.stdout
    assert ("A skipped test fails the run" in run.stdout) is (ci == "true")
    assert run.returncode == status
