"""The content-addressed store on S3 (AWS, SeaweedFS, any that knows conditional writes).

An object appears whole or not at all, and only if there is none of its name: `If-None-Match: *` lets S3 itself refuse
to overwrite. The request carries the SHA-256 of the bytes, so that S3 refuses what was damaged on the way.
"""

import base64
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from server.config import S3Settings
from server.evidence.store import NAME

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 4
MAX_CONNECTIONS = 16
EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
MISSING = ("NoSuchKey", "NotFound", "404")
READ_BYTES = 256 * 1024


class S3Store:
    """Blobs as objects `<prefix>ab/<sha256>` of one bucket, which must exist."""

    def __init__(self, settings: S3Settings) -> None:
        """Use a bucket; nothing is asked of it yet."""
        self._bucket, self._prefix = settings.bucket, settings.prefix
        self._client = _client(settings)

    def put(self, source: Path, sha256: str) -> bool:
        """See `BlobStore.put`."""
        self._key(sha256)
        with source.open("rb") as body:
            request = {
                "Body": body,
                "ContentLength": source.stat().st_size,
                "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
                "IfNoneMatch": "*",
            }
            try:
                self._ask(self._client.put_object, sha256, **request)
            except FileExistsError:
                if self.size_bytes(sha256) != source.stat().st_size:
                    raise OSError(f"blob {sha256} is damaged: its length is not that of its content") from None
                return False
        return True

    def open(self, sha256: str) -> BinaryIO:
        """See `BlobStore.open`."""
        size_bytes = self.size_bytes(sha256)
        if size_bytes is None:
            raise FileNotFoundError(f"there is no blob {sha256}")

        def read_from(start: int) -> Any:  # noqa: ANN401 - botocore ships no types
            return self._ask(self._client.get_object, sha256, Range=f"bytes={start}-")["Body"]

        return cast(BinaryIO, io.BufferedReader(_ObjectStream(read_from, size_bytes), READ_BYTES))

    def size_bytes(self, sha256: str) -> int | None:
        """See `BlobStore.size_bytes`."""
        try:
            return int(self._ask(self._client.head_object, sha256)["ContentLength"])
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """See `BlobStore.remove`. A bucket that keeps versions must be told to expire them."""
        self._ask(self._client.delete_object, sha256)

    @contextmanager
    def local(self, sha256: str) -> Iterator[Path]:
        """See `BlobStore.local`: a temporary copy."""
        with self.open(sha256) as stream, tempfile.NamedTemporaryFile(prefix="fieldproof-") as copy:
            shutil.copyfileobj(stream, copy, READ_BYTES)
            copy.flush()
            yield Path(copy.name)

    def _ask(self, call: Callable[..., T], sha256: str, **request: object) -> T:
        """Call S3, and say its refusals in the words of a file system.

        Raises:
            FileExistsError, FileNotFoundError, OSError; ValueError: not 64 lower-case hex digits.
        """
        key = self._key(sha256)
        try:
            return call(Bucket=self._bucket, Key=key, **request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in EXISTS:
                raise FileExistsError(f"there is a blob {sha256}") from error
            if code in MISSING:
                raise FileNotFoundError(f"there is no blob {sha256}") from error
            raise OSError(f"S3 refused: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"S3 does not answer: {error}") from error

    def _key(self, sha256: str) -> str:
        if not NAME.fullmatch(sha256):
            raise ValueError("a blob is named by 64 lower-case hex digits")
        return f"{self._prefix}{sha256[:2]}/{sha256}"


@cache
def _client(settings: S3Settings) -> Any:  # noqa: ANN401 - boto3 ships no types
    """Return the client of this process for a bucket; clients may be used by many threads and take long to make."""
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url or None,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=MAX_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            s3={"addressing_style": "path"},
        ),
    )


class _ObjectStream(io.RawIOBase):
    """A seekable view of an object: each seek begins a new ranged request at the next read."""

    def __init__(self, read_from: Callable[[int], Any], size_bytes: int) -> None:
        self._read_from, self._size_bytes = read_from, size_bytes
        self._position = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if base + offset != self._position:
            self._drop()
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        if self._position >= self._size_bytes:
            return 0
        if self._body is None:
            self._body = self._read_from(self._position)
        try:
            piece = self._body.read(len(buffer))
        except BotoCoreError as error:
            raise OSError(f"S3 broke off: {error}") from error
        if not piece:
            raise OSError("S3 ended an object early")
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
