"""The folder of a demonstration: private files in it, and emptying that of an earlier one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from device_sim.demo.checks import InvariantBroken

MARKER = "demo.json"
"""Marks a folder as a demonstration's own; a folder with data and without it is left alone."""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)


def prepare_home(home: Path) -> None:
    """Empty the home of an earlier demonstration, and refuse one that holds anything else.

    Raises:
        InvariantBroken: the folder has data that no demonstration made.
    """
    marker = home / MARKER
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise InvariantBroken(f"{home} holds data of its own; set FIELDPROOF_HOME to an empty folder for the demo")
    if home.exists():
        for child in home.iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker.write_text(json.dumps({"made_by": "fieldproof demo"}))
