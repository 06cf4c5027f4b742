"""Set-up says in one line what is missing, and does nothing when nothing is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project_tree import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with just what set-up reads."""
    folder = tmp_path / "a checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/setup", folder / ".ci/setup")
    (folder / "requirements.txt").write_text("nowhere-to-be-found==1.0 --hash=sha256:" + "0" * 64 + "\n")
    (folder / "pyproject.toml").write_text("")
    return folder


def set_up(checkout: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run set-up with a clean environment besides `env`."""
    base = {"PATH": os.environ["PATH"], "HOME": str(checkout), "PYTHON": sys.executable}
    return subprocess.run([checkout / ".ci/setup"], env=base | env, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, script: str) -> Path:
    """A stand-in for a program, as a shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that set-up ended with."""
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("fieldproof: missing: ")
    return line


def test_an_old_python_is_named(checkout: Path, tmp_path: Path) -> None:
    """With only an older Python around, its version and the needed one are said."""
    old = program(tmp_path / "bin", "python3", 'case $1 in --version) echo "Python 3.9.2";; *) exit 1;; esac')
    line = only_line(set_up(checkout, PYTHON=str(old)))
    assert "Python 3.11 or newer" in line
    assert "found: Python 3.9.2" in line


def test_no_python_is_named(checkout: Path) -> None:
    """Without any Python the line says so instead of a shell's complaint."""
    line = only_line(set_up(checkout, PYTHON="python-that-is-not-there"))
    assert "found: no python-that-is-not-there" in line


def test_a_missing_venv_module_is_named(checkout: Path, tmp_path: Path) -> None:
    """Debian splits venv off into a package of its own; the line names the package."""
    script = 'case "$*" in *ensurepip*) exit 1;; *) exit 0;; esac'
    line = only_line(set_up(checkout, PYTHON=str(program(tmp_path / "bin", "python3", script))))
    assert "apt-get install python3-venv" in line


def test_a_full_disk_is_named(checkout: Path, tmp_path: Path) -> None:
    """Too little space is said before anything is written."""
    program(tmp_path / "bin", "df", 'echo head; echo "disk 1000000 990000 10240 99% /"')
    line = only_line(set_up(checkout, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}"))
    assert "10 MB are free" in line
    assert not (checkout / ".venv").exists()


def test_an_unreachable_registry_is_named(checkout: Path) -> None:
    """Without a registry the line says that, and the next attempt starts over."""
    settings = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    assert "a package registry that answers" in only_line(set_up(checkout, **settings))
    assert "a package registry that answers" in only_line(set_up(checkout, **settings))


def test_repeating_needs_nothing(checkout: Path) -> None:
    """Once stamped, set-up neither prints nor needs Python or a network; a changed lock ends that."""
    (checkout / ".venv/bin").mkdir(parents=True)
    program(checkout / ".venv/bin", "python", "exit 0")
    first = set_up(checkout)
    assert (first.returncode, "installing 1 packages" in first.stdout) == (0, True)
    program(checkout / ".venv/bin", "python", "exit 1")
    again = set_up(checkout, PYTHON="python-that-is-not-there")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    (checkout / "requirements.txt").write_text("other==2.0\n")
    assert "found: no python-that-is-not-there" in only_line(set_up(checkout, PYTHON="python-that-is-not-there"))


def test_a_moved_folder_is_set_up_anew(checkout: Path, tmp_path: Path) -> None:
    """Programs in .venv/bin name their place, so an environment that was moved is made again."""
    (checkout / ".venv/bin").mkdir(parents=True)
    program(checkout / ".venv/bin", "python", "exit 0")
    assert set_up(checkout).returncode == 0
    moved = checkout.rename(tmp_path / "moved")
    assert "found: no python-that-is-not-there" in only_line(set_up(moved, PYTHON="python-that-is-not-there"))
