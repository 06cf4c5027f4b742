"""Configuration from the environment, and secrets that are made once."""

from __future__ import annotations

import multiprocessing
import os
import stat
from dataclasses import FrozenInstanceError
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue

import pytest

from server.config import SECRET_BYTES, Settings, load_secret, load_settings

STARTERS = 6


def settings_at(home: Path) -> Settings:
    """Settings of a home, otherwise as they come."""
    return load_settings({"FIELDPROOF_HOME": str(home)})


def test_defaults_run_everything_below_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable, all data lies below ./var."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.home == tmp_path / "var"
    assert settings.database_url == f"sqlite:///{tmp_path / 'var' / 'fieldproof.db'}"
    assert settings.evidence_dir.parent == settings.keys_dir.parent == settings.home
    assert settings.public_url.startswith("http://127.0.0.1:")
    assert (settings.mqtt_host, settings.mqtt_port) == ("127.0.0.1", 1883)
    assert not settings.secure_cookies
    assert not (tmp_path / "var").exists()


def test_every_setting_is_read(tmp_path: Path) -> None:
    """One variable each."""
    env = {
        "FIELDPROOF_HOME": str(tmp_path),
        "FIELDPROOF_DATABASE_URL": "postgresql+psycopg://db.example/fieldproof",
        "FIELDPROOF_PUBLIC_URL": "https://fieldproof.example",
        "FIELDPROOF_EVIDENCE_DIR": "/data/evidence",
        "FIELDPROOF_KEYS_DIR": "/data/keys",
        "FIELDPROOF_MQTT_HOST": "broker.example",
        "FIELDPROOF_MQTT_PORT": "8883",
        "FIELDPROOF_MQTT_USER": "reader",
        "FIELDPROOF_MQTT_PASSWORD": "sample",
        "FIELDPROOF_TOKEN_S": "60",
        "FIELDPROOF_DEVICE_TOKEN_S": "30",
    }
    settings = load_settings(env)
    assert settings.database_url == "postgresql+psycopg://db.example/fieldproof"
    assert settings.public_url == "https://fieldproof.example"
    assert (settings.evidence_dir, settings.keys_dir) == (Path("/data/evidence"), Path("/data/keys"))
    assert (settings.mqtt_host, settings.mqtt_port) == ("broker.example", 8883)
    assert (settings.mqtt_user, settings.mqtt_password) == ("reader", "sample")
    assert (settings.token_s, settings.device_token_s) == (60, 30)
    assert settings.secure_cookies


@pytest.mark.parametrize("name", ["MQTT_PORT", "TOKEN_S", "DEVICE_TOKEN_S"])
@pytest.mark.parametrize("text", ["soon", "", "-1", "1.5", "1_0", "٣"])
def test_a_number_that_is_none_is_refused(name: str, text: str) -> None:
    """At the start and by its name, not at the first use."""
    with pytest.raises(ValueError, match=f"^FIELDPROOF_{name} must be a whole number, not "):
        load_settings({f"FIELDPROOF_{name}": text})


def test_settings_do_not_change() -> None:
    """They are read once."""
    with pytest.raises(FrozenInstanceError):
        load_settings({}).token_s = 1  # type: ignore[misc]  # what is tested


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """The second call reads what the first one wrote; another name is another secret."""
    settings = settings_at(tmp_path)
    first = load_secret(settings, "jwt")
    assert len(first) == SECRET_BYTES
    assert load_secret(settings, "jwt") == first
    assert load_secret(settings, "cursor") != first


def test_nobody_else_can_read_a_secret(tmp_path: Path) -> None:
    """Folder 0700 and file 0600, also under a generous umask; nothing is left lying around."""
    settings = settings_at(tmp_path)
    before = os.umask(0)
    try:
        load_secret(settings, "jwt")
    finally:
        os.umask(before)
    assert stat.S_IMODE(settings.keys_dir.stat().st_mode) == 0o700
    assert [path.name for path in settings.keys_dir.iterdir()] == ["jwt.secret"]
    assert stat.S_IMODE((settings.keys_dir / "jwt.secret").stat().st_mode) == 0o600


def test_who_comes_second_takes_the_first_ones_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw no file; the link decides, and the loser's bytes are dropped."""
    settings = settings_at(tmp_path)
    first = load_secret(settings, "jwt")
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    assert load_secret(settings, "jwt") == first
    assert [path.name for path in settings.keys_dir.iterdir()] == ["jwt.secret"]


def test_a_ruined_secret_is_not_replaced(tmp_path: Path) -> None:
    """Making a new one would quietly sign everybody out: better to fail."""
    settings = settings_at(tmp_path)
    load_secret(settings, "jwt")
    (settings.keys_dir / "jwt.secret").write_text("not hexadecimal")
    with pytest.raises(ValueError, match="hex"):
        load_secret(settings, "jwt")


def start(home: Path, barrier: Barrier, found: Queue[bytes]) -> None:
    """What each program does at the same moment."""
    barrier.wait()
    found.put(load_secret(settings_at(home), "jwt"))


def test_programs_that_start_together_agree(tmp_path: Path) -> None:
    """Real processes, released at once, all end with the same secret."""
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(STARTERS), context.Queue()
    programs = [context.Process(target=start, args=(tmp_path, barrier, found)) for _ in range(STARTERS)]
    for program in programs:
        program.start()
    secrets = {found.get(timeout=60) for _ in programs}
    for program in programs:
        program.join()
    assert len(secrets) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["jwt.secret"]


def test_publication_days_are_read() -> None:
    """Pairs of a kind and working days; anything else is refused by the variable's name."""
    env = {"FIELDPROOF_PUBLICATION_DAYS": "penalty=5 other=30"}
    assert load_settings(env).publication_days == {"penalty": 5, "other": 30}
    for wrong in ("penalty", "penalty=", "penalty=-1", "penalty=251", "fine=5"):
        with pytest.raises(ValueError, match="FIELDPROOF_PUBLICATION_DAYS"):
            load_settings({"FIELDPROOF_PUBLICATION_DAYS": wrong})
