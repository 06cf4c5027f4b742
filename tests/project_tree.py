"""The files of the project, as the tests that look at the project as a whole see them."""

import functools
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM_FOLDERS = ("device_sim", "iot_ingest", "schemas", "server", "sync")
# What .gitignore leaves out, for a copy of the project that is no checkout.
NOT_PROJECT = {"var", "dist", "htmlcov", "__pycache__"}


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file that is committed or would be, sorted."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        paths = _listed_by_git()
    else:
        paths = [path for path in ROOT.rglob("*") if _looks_committed(path.relative_to(ROOT))]
    return tuple(sorted(path for path in paths if path.is_file()))


def _listed_by_git() -> list[Path]:
    # The checkout may belong to another account than the one that runs the tests, which git refuses unless told.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in set(listing.split("\0")) - {""}]


def _looks_committed(path: Path) -> bool:
    hidden_folders = [part for part in path.parts[:-1] if part.startswith(".") and part != ".ci"]
    return not hidden_folders and not NOT_PROJECT.intersection(path.parts) and not path.name.startswith(".coverage")


def python_files(*folders: str) -> list[Path]:
    """The Python files below the given top-level folders."""
    tops = tuple(ROOT / folder for folder in folders)
    return [path for path in project_files() if path.suffix == ".py" and any(path.is_relative_to(top) for top in tops)]
