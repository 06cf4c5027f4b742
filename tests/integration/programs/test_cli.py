"""The command line and the worker as real programs: setting up, accounts, seeding, one round of work, verification."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from device_sim.demo.world import make_world, seed_content
from device_sim.sample.mapping import map_world
from device_sim.sample.sources import open_data
from server.cli import main
from server.migrations import versions

VERSIONS = Path(versions.__file__).parent
FIELDPROOF = Path(sys.executable).with_name("fieldproof")
TIMEOUT_S = 60


SHORT_CODE = json.dumps(
    {
        "items": [
            {"id": "01890000-0000-7000-8000-000000000000", "code": "1", "name": "a", "basis": "b", "department": "c"}
        ]
    }
).encode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, set for this process and its children."""
    monkeypatch.setenv("FIELDPROOF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _run(*arguments: str, ok: bool = True) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert (result.exit_code == 0) is ok, result.output
    return result.output


def _seed_file(folder: Path) -> Path:
    data = open_data(None)
    mapped = map_world(data.businesses, data.stations, data.divisions)
    world = make_world(data, mapped, seed="3", devices=4, inspections=3)
    path = folder / "seed.json"
    path.write_text(json.dumps(seed_content(world), ensure_ascii=False), "utf-8")
    return path


def test_help_lists_every_program(home: Path) -> None:
    """The help reads in both languages and names the commands of all programs."""
    text = _run("--help")
    for name in (
        "serve",
        "ingest",
        "device",
        "central",
        "demo",
        "migrate",
        "seed",
        "operator",
        "openapi",
        "verify",
        "bench",
    ):
        assert f"\n  {name}" in text
    assert "可证明的监管后端" in text


def test_from_nothing_to_a_seeded_platform(home: Path, tmp_path: Path) -> None:
    """Migrate, seed (twice: the second enters nothing new), make accounts, verify."""
    newest = max(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))
    assert _run("migrate").strip().endswith(f"Database ready: {newest}")
    seed = str(_seed_file(tmp_path))
    assert "entities" in _run("seed", seed)
    again = _run("seed", seed)
    assert "officers: +0" in again.replace("  ", " ") or "+0" in again
    account = _run("operator", "add", "li", "--role", "admin", "--password", "correct horse battery").strip()
    assert len(account) == 36
    taken = _run("operator", "add", "li", "--password", "correct horse battery", ok=False)
    assert "login" in taken or "Invalid field" in taken
    assert "/sign-in?code=" in _run("operator", "link", "li")
    assert "not-found" in _run("operator", "link", "nobody", ok=False)
    assert "0" in _run("verify")
    assert json.loads(_run("worker", "--once").splitlines()[-1])["sequence-proof-log"] == 0


def test_openapi_is_printed(home: Path) -> None:
    """The document can be had without a running server."""
    _run("migrate")
    document = json.loads(_run("openapi"))
    assert document["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "malformed-json"),
        (b'{"planets": []}', "planets"),
        (b'{"entities": [{"id": "x"}]}', "not an id"),
        (SHORT_CODE, "14"),
    ],
)  # fmt: skip
def test_bad_seed_files_are_refused(home: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that is no seed file, or breaks a rule, is refused in one line with the reason."""
    _run("migrate")
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert reason in _run("seed", str(path), ok=False)


def test_unset_platform_says_what_to_do(home: Path) -> None:
    """Programs on a database that was never set up end with one line, not with a traceback."""
    home.mkdir()
    ended = subprocess.run(
        [str(FIELDPROOF), "operator", "link", "x"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


def _wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while text not in (path.read_text("utf-8") if path.exists() else ""):
        assert time.monotonic() < deadline, path.read_text("utf-8") if path.exists() else "no log"
        time.sleep(0.05)


def test_worker_runs_until_told_to_stop(home: Path, tmp_path: Path) -> None:
    """The worker ends cleanly on SIGTERM, after finishing its round."""
    _run("migrate")
    _run("seed", str(_seed_file(tmp_path)))
    log = tmp_path / "worker.log"
    with log.open("w") as out:
        worker = subprocess.Popen([str(FIELDPROOF), "worker"], stdout=out, stderr=out, env={**os.environ})
    try:
        _wait_for(log, "worker: ready")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(TIMEOUT_S) == 0
    finally:
        worker.kill()
        worker.wait(TIMEOUT_S)


def test_serve_answers_and_stops(home: Path, tmp_path: Path) -> None:
    """The real server answers over HTTP and ends on SIGTERM."""
    _run("migrate")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([str(FIELDPROOF), "serve", "--port", str(port), "--workers", "1"], env={**os.environ})
    try:
        answer: Any = None
        deadline = time.monotonic() + TIMEOUT_S
        while answer is None:
            assert server.poll() is None
            assert time.monotonic() < deadline
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False)
            except httpx.ConnectError:
                time.sleep(0.05)
        assert answer.json() == {"status": "ready"}
        server.send_signal(signal.SIGTERM)
        assert server.wait(TIMEOUT_S) == 0
    finally:
        server.kill()
        server.wait(TIMEOUT_S)
