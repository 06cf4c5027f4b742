"""A platform that can be reached over HTTP as a real program, and the central system as another one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.accounts.service import NewAccount, add_account
from server.config import load_settings
from server.prooflog.keys import PUBLIC_FILE, load_key
from server.prooflog.service import sequence_step
from server.records.service import start_epoch
from server.runtime import Runtime, build_runtime
from server.tables import METADATA
from tests.integration.exchange.behaviors import add_behavior

FIELDPROOF = str(Path(sys.executable).with_name("fieldproof"))
PASSWORD = "sample password of the central system"
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 120.0


@dataclass
class Platform:
    """A running HTTP server, with its database open here as well."""

    rt: Runtime
    url: str
    folder: Path
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def public_key(self) -> Path:
        """The log's public key, as the central system is given it."""
        return self.rt.settings.keys_dir / PUBLIC_FILE

    @property
    def store(self) -> Path:
        """The central system's own database."""
        return self.folder / "central.db"

    def write(self, count: int) -> list[str]:
        """Write behaviors, each in its own transaction."""
        made = []
        for _ in range(count):
            with self.rt.db.write() as session:
                made.append(add_behavior(session, self.rt))
        return made

    def sequence(self) -> int:
        """Run the sequencer once."""
        with self.rt.db.write() as session:
            return sequence_step(session, self.rt)

    def start_central(self, *arguments: str, password_text: str = PASSWORD) -> subprocess.Popen[bytes]:
        """Start `fieldproof central pull` with its store in this test's folder."""
        password = self.folder / f"central-{len(self.programs)}.password"
        password.write_text(password_text)
        command = [FIELDPROOF, "central", "pull", "--url", self.url, "--login", "central"]
        command += ["--password-file", str(password), "--store", str(self.store)]
        command += ["--json", str(self.folder / "central.json"), *arguments]
        if "--public-key" not in arguments:
            command += ["--public-key", str(self.public_key)]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.programs.append(program)
        return program

    def finish(self, program: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any], str]:
        """Wait for its end; returns exit code, result and what it said."""
        _, said = program.communicate(timeout=END_TIMEOUT_S)
        result = self.folder / "central.json"
        return program.returncode, json.loads(result.read_text()) if result.exists() else {}, said.decode()

    def kill(self, program: subprocess.Popen[bytes]) -> None:
        """Kill -9, and collect it."""
        program.send_signal(signal.SIGKILL)
        program.communicate(timeout=END_TIMEOUT_S)


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers."""
    pause = threading.Event()
    for _ in range(int(START_TIMEOUT_S / 0.1)):
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        pause.wait(0.1)
    raise AssertionError("the server does not answer")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A real server on a free port, with an account for the central system."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {"FIELDPROOF_HOME": str(tmp_path / "home"), "FIELDPROOF_PUBLIC_URL": url}
    rt = build_runtime(load_settings(env))
    METADATA.create_all(rt.db.engine)
    with rt.db.write() as session:
        start_epoch(session, rt)
        add_account(session, rt, NewAccount("central", PASSWORD, "central", "国家平台样例", "420000"), actor="test")
    load_key(rt.settings)
    command = [FIELDPROOF, "serve", "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = Platform(rt, url, tmp_path)
    try:
        wait_until_ready(url, server)
        yield found
    finally:
        for program in found.programs:
            if program.poll() is None:
                found.kill(program)
        server.terminate()
        server.wait(END_TIMEOUT_S)
        rt.db.dispose()
