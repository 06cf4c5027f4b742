"""`fieldproof backup`, `restore` and `new-epoch`: a copy while in use, and each restore a new epoch."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.config import load_settings
from server.records.service import server_state
from server.runtime import build_runtime


def _run(*arguments: str, ok: bool = True) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert (result.exit_code == 0) is ok, result.output
    return result.output


def _epoch() -> str:
    rt = build_runtime(load_settings())
    with rt.db.read() as session:
        epoch = server_state(session).epoch
    rt.db.dispose()
    return epoch


def test_backup_and_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup says what it holds; restoring keeps the present database aside and begins a new epoch each time."""
    home, backup = tmp_path / "home", tmp_path / "backups" / "one.db"
    monkeypatch.setenv("FIELDPROOF_HOME", str(home))
    _run("migrate")
    first = _epoch()
    manifest = json.loads(_run("backup", str(backup)))
    assert manifest == json.loads(Path(f"{backup}.json").read_text())
    assert (manifest["epoch"], manifest["log_size"]) == (first, 0)
    assert sorted(path.name for path in backup.parent.iterdir()) == ["one.db", "one.db.json"]
    _run("backup", str(backup), ok=False)
    life = json.loads(_run("restore", str(backup)))
    assert life == {"epoch": _epoch(), "erasures_replayed": 0, "log_closed": False}
    assert life["epoch"] != first
    assert (home / "fieldproof.db.before-restore").exists()
    assert json.loads(_run("new-epoch"))["epoch"] not in (first, life["epoch"])
    _run("restore", f"{backup}.json", ok=False)
    assert "0" in _run("verify")


def test_postgresql_has_its_own_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL the command says what to do instead."""
    monkeypatch.setenv("FIELDPROOF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FIELDPROOF_DATABASE_URL", "postgresql+psycopg:///nothing")
    assert "new-epoch" in _run("backup", str(tmp_path / "x.db"), ok=False)
