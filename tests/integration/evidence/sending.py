"""A small tus client over Flask's test client, and honest declarations for bytes."""

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from server.evidence.hashing import new_sm3

URL = "/api/v1/evidence"
UPLOADS = f"{URL}/uploads"
ACT = "ac" * 32
EVIDENCE = "0190a0b0-0000-7000-8000-000000000001"
INSPECTION = "0190a0b0-0000-7000-8000-0000000000aa"
OFFSET_TYPE = {"Content-Type": "application/offset+octet-stream"}
Headers = dict[str, str]
MakeHeaders = Callable[..., Headers]
Declare = Callable[..., None]


def metadata(evidence: str = EVIDENCE, **more: str) -> str:
    """An Upload-Metadata header."""
    members = {"evidence": evidence, **more}
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in members.items())


class Tus:
    """A tus client of one device."""

    def __init__(self, client: FlaskClient, headers: Headers) -> None:
        """Speak with these headers."""
        self.client, self.headers = client, headers | {"Tus-Resumable": "1.0.0"}

    def create(
        self, length: int | str, evidence: str = EVIDENCE, body: bytes | None = None, **more: str
    ) -> TestResponse:
        """POST a creation."""
        headers = self.headers | {"Upload-Length": str(length), "Upload-Metadata": metadata(evidence, **more)}
        return self.client.post(UPLOADS, headers=headers | (OFFSET_TYPE if body is not None else {}), data=body)

    def send(self, data: bytes, evidence: str = EVIDENCE) -> str:
        """Create and send in one request; returns the location."""
        response = self.create(len(data), evidence, data)
        assert response.status_code == 201, response.get_data(as_text=True)
        return str(response.headers["Location"])

    def send_apart(self, data: bytes, evidence: str = EVIDENCE) -> str:
        """Create, then send in a second request; returns the location."""
        location = str(self.create(len(data), evidence).headers["Location"])
        assert self.patch(location, 0, data).status_code == 204
        return location

    def patch(self, location: str, offset: int | str, data: bytes, **more: str) -> TestResponse:
        """PATCH bytes."""
        headers = self.headers | OFFSET_TYPE | {"Upload-Offset": str(offset)} | more
        return self.client.patch(location, headers=headers, data=data)

    def offset(self, location: str) -> int:
        """HEAD the offset."""
        response = self.client.head(location, headers=self.headers)
        assert response.status_code == 200, response.status
        return int(response.headers["Upload-Offset"])


def json_of(response: TestResponse) -> dict[str, Any]:
    """The JSON object of a response."""
    value = response.get_json()
    assert isinstance(value, dict), value
    return value


def problem_of(response: TestResponse) -> tuple[int, str, str | None]:
    """Status, code and field of a problem response."""
    assert response.mimetype == "application/problem+json", response.get_data(as_text=True)
    problem = json_of(response)
    return response.status_code, problem["code"], problem.get("field")


def sm3(data: bytes) -> str:
    """SM3 as hex."""
    hasher = new_sm3()
    hasher.update(data)
    return hasher.hexdigest()


def fields_of(data: bytes, **more: object) -> dict[str, Any]:
    """The fields an honest evidence act declares for some bytes."""
    return {
        "inspection": INSPECTION,
        "sha256": hashlib.sha256(data).hexdigest(),
        "sm3": sm3(data),
        "size_bytes": len(data),
        "media_type": "image/jpeg",
        "captured_at": "2026-03-01T10:00:00+08:00",
        "position": {"lat": 30.5928, "lon": 114.3055, "datum": "WGS-84"},
        "file_name": "现场.jpg",
    } | more


def photo(color: str = "red", at: str = "2026:03:01 10:00:00") -> bytes:
    """A small JPEG with EXIF that agrees with `fields_of`."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: at, 0x9011: "+08:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (30.0, 35.0, 34.08), 3: "E", 4: (114.0, 18.0, 19.8)})
    out = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(out, "JPEG", exif=exif)
    return out.getvalue()


PHOTO = photo()
SHA256 = hashlib.sha256(PHOTO).hexdigest()
