"""Skipped tests are named at the end of a run, and fail it where skipping is forbidden."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.skips import FORBID_VARIABLE

SUITE = '''
"""One module that skips itself, one test that does, and one that passes."""

import pytest


@pytest.mark.parametrize("n", [1, 2])
def test_skipped(n):
    pytest.skip("some-program is missing: apt-get install some-program")


def test_passed():
    pass
'''
MODULE = 'import pytest\n\npytest.skip("another-program is missing", allow_module_level=True)\n'


def run_suite(folder: Path, *args: str, forbid: str) -> subprocess.CompletedProcess[str]:
    """Run the sample suite in a session of its own, under this plugin and the one for workers alone."""
    (folder / "test_sample.py").write_text(SUITE)
    (folder / "test_module.py").write_text(MODULE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.plugins.skips", *args]
    env = os.environ | {FORBID_VARIABLE: forbid, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_reason_has_one_line(tmp_path: Path, workers: str) -> None:
    """Tests that share a reason share its line, however many workers ran them, and the run still passes."""
    done = run_suite(tmp_path, "-n", workers, forbid="")
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "skipped: not run on this machine" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "is missing" in line]
    assert lines == [
        "another-program is missing  [test_module.py]",
        "some-program is missing: apt-get install some-program  [test_sample.py::test_skipped[1] and 1 more]",
    ]


def test_forbidden_skips_fail_the_run(tmp_path: Path) -> None:
    """With skipping forbidden, a run that left tests out is no success."""
    done = run_suite(tmp_path, forbid="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "skipped: forbidden here" in done.stdout


def test_what_is_not_permitted_fails_nothing(tmp_path: Path) -> None:
    """It is named all the same."""
    (tmp_path / "test_mount.py").write_text(
        'import pytest\n\npytest.skip("not permitted: x", allow_module_level=True)\n'
    )
    done = run_suite(tmp_path, "test_mount.py", "test_sample.py::test_passed", forbid="1")
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "not permitted: x  [test_mount.py]" in done.stdout


def test_nothing_is_said_without_skips(tmp_path: Path) -> None:
    """A run that skips nothing passes under the same rule, and says nothing about skipping."""
    done = run_suite(tmp_path, "test_sample.py::test_passed", forbid="1")
    assert done.returncode == pytest.ExitCode.OK
    assert "skipped:" not in done.stdout
