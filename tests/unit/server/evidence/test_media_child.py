"""Examining files: real pictures, damaged ones, bombs, and files that are no pictures."""

import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image

from server.evidence import media_child
from server.evidence.facts import facts_from_json
from server.evidence.media_child import main, work_limited
from server.evidence.media_reading import examine, read_exif, sniff

GPS = {1: "N", 2: (30.0, 35.0, 34.08), 3: "E", 4: (114.0, 18.0, 19.8), 18: "WGS-84"}


def jpeg(exif: Image.Exif | None = None, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(out, "JPEG", exif=exif or Image.Exif())
    return out.getvalue()


def full_exif() -> Image.Exif:
    """EXIF with everything that is read."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0112] = "Sample Camera\0", "X1", "Firmware 2", 6
    exif.get_ifd(0x8769).update({0x9003: "2026:03:01 10:05:00", 0x9011: "+08:00"})
    exif.get_ifd(0x8825).update(GPS)
    return exif


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and carries little."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def facts_of(tmp_path: Path, data: bytes) -> dict[str, Any]:
    """Examine bytes in this process."""
    path = tmp_path / "no-name-at-all"
    path.write_bytes(data)
    facts = examine(path)
    facts_from_json(facts)
    return facts


def test_photo_with_exif_is_read(tmp_path: Path) -> None:
    """Type, size, time, position, device and orientation come out."""
    facts = facts_of(tmp_path, jpeg(full_exif()))
    assert (facts["outcome"], facts["media_type"], facts["width"], facts["height"]) == ("decoded", "image/jpeg", 64, 48)
    assert facts["exif"] == {
        "taken_at": "2026-03-01T10:05:00",
        "utc_offset": "+08:00",
        "lat": pytest.approx(30.5928, abs=1e-6),
        "lon": pytest.approx(114.3055, abs=1e-6),
        "datum": "WGS-84",
        "make": "Sample Camera",
        "model": "X1",
        "software": "Firmware 2",
        "orientation": 6,
    }


def test_heic_is_decoded(tmp_path: Path) -> None:
    """HEIC is a picture like any other."""
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "HEIF", exif=full_exif())
    facts = facts_of(tmp_path, out.getvalue())
    assert (facts["outcome"], facts["media_type"]) == ("decoded", "image/heif")
    assert facts["exif"]["taken_at"] == "2026-03-01T10:05:00"


def test_southern_and_western_positions_are_negative() -> None:
    """The reference letters give the sign; a position needs both halves and sane values."""
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(GPS | {1: "S", 3: "W"})
    picture = Image.new("RGB", (1, 1))
    for gps, found in (
        (GPS | {1: "S", 3: "W"}, True),
        (GPS | {1: "X"}, False),
        (GPS | {2: (95.0, 0.0, 0.0)}, False),
        (GPS | {4: (float("nan"), 0.0, 0.0)}, False),
        ({1: "N", 2: (30.0, 0.0, 0.0)}, False),
        (GPS | {2: (30.0, 0.0)}, False),
        (GPS | {2: ("a", "b", "c")}, False),
    ):
        picture.getexif().get_ifd(0x8825).clear()
        picture.getexif().get_ifd(0x8825).update(gps)
        exif_found = read_exif(picture)
        assert ("lat" in exif_found) is found, gps
        assert exif_found.get("lat", -1) < 0
        assert exif_found.get("lon", -1) < 0


def test_broken_exif_is_left_out() -> None:
    """EXIF that raises costs the EXIF, not the picture."""

    class Broken(Image.Image):
        def getexif(self) -> Image.Exif:
            raise ValueError("broken")

    assert read_exif(Broken()) == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({0x0132: "2026:03:01 10:05:00"}, {"taken_at": "2026-03-01T10:05:00"}),
        ({0x0132: "    :  :     :  :  "}, {}),
        ({0x0132: "yesterday"}, {}),
        ({0x0112: 9}, {}),
        ({0x0110: "\x00\x01"}, {}),
        ({0x0110: "x" * 500}, {"model": "x" * 100}),
    ],
    ids=["fallback", "blank", "words", "orientation", "unprintable", "long"],
)
def test_odd_exif_values(value: dict[int, Any], found: dict[str, Any]) -> None:
    """What makes no sense is left out; texts are cut."""
    picture = Image.new("RGB", (1, 1))
    for tag, each in value.items():
        picture.getexif()[tag] = each
    assert read_exif(picture) == found


def test_truncated_picture_is_undecodable(tmp_path: Path) -> None:
    """Half a JPEG keeps its type and its EXIF, and says why it does not decode."""
    facts = facts_of(tmp_path, jpeg(full_exif(), (640, 480))[:20_000])
    assert (facts["outcome"], facts["media_type"]) == ("undecodable", "image/jpeg")
    assert "truncated" in facts["reason"]
    assert facts["exif"]["model"] == "X1"


def test_damaged_head_is_undecodable(tmp_path: Path) -> None:
    """A JPEG signature with nothing sensible behind it is a damaged picture, not another type."""
    facts = facts_of(tmp_path, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 200)
    assert (facts["outcome"], facts["media_type"]) == ("undecodable", "image/jpeg")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (13_000, 10_000)], ids=["far", "just"])
def test_decompression_bomb_is_not_decoded(tmp_path: Path, width: int, height: int) -> None:
    """A tiny file that claims too many pixels is recognised before it is decoded."""
    facts = facts_of(tmp_path, png_header(width, height))
    assert (facts["outcome"], facts["media_type"]) == ("decompression-bomb", "image/png")
    assert (facts["width"], facts["height"]) == (width, height)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n", "application/pdf"),
        (b"plain words", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
    ids=["pdf", "text", "empty"],
)
def test_other_files_are_no_pictures(tmp_path: Path, data: bytes, media_type: str) -> None:
    """The type comes from the content."""
    facts = facts_of(tmp_path, data)
    assert (facts["outcome"], facts["media_type"]) == ("not-a-picture", media_type)


def test_other_picture_formats_are_not_opened(tmp_path: Path) -> None:
    """A GIF is recognised, but no decoder ever sees it."""
    out = io.BytesIO()
    Image.new("P", (8, 8)).save(out, "GIF")
    facts = facts_of(tmp_path, out.getvalue())
    assert (facts["outcome"], facts["media_type"]) == ("not-a-picture", "image/gif")


def test_sniff_ignores_the_name(tmp_path: Path) -> None:
    """A name that lies changes nothing."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n")
    assert sniff(path) == "application/pdf"


def test_fork_gives_the_same_answer(tmp_path: Path) -> None:
    """The limited fork finds what the function finds."""
    path = tmp_path / "photo"
    path.write_bytes(jpeg(full_exif()))
    assert work_limited({"path": str(path)}) == json.loads(json.dumps(examine(path)))


def test_hanging_decoder_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork that takes too long is killed and its file called undecodable."""

    def hang(_path: Path) -> dict[str, Any]:
        read, _write = os.pipe()
        os.read(read, 1)
        raise AssertionError("never reached")

    monkeypatch.setattr(media_child, "examine", hang)
    facts = work_limited({"path": str(tmp_path / "x")}, wall_s=0.05)
    assert (facts["outcome"], facts["reason"]) == ("undecodable", "took longer than 0.05 s")


def test_crashing_decoder_costs_one_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork that dies without an answer is a finding, not a crash of the worker."""
    monkeypatch.setattr(media_child, "examine", lambda _path: os._exit(3))
    assert "crashed" in work_limited({"path": str(tmp_path / "x")})["reason"]


def test_memory_limit_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs more memory than allowed is called a bomb."""
    monkeypatch.setattr(media_child, "examine", lambda _path: {"x": bytearray(4 * media_child.MEMORY_BYTES)})
    assert work_limited({"path": str(tmp_path / "x")})["outcome"] == "decompression-bomb"


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A disk that does not answer is no finding about the file."""
    assert "FileNotFoundError" in work_limited({"path": str(tmp_path / "none")})["error"]


def test_endless_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent reads no more than an answer can be."""
    monkeypatch.setattr(media_child, "examine", lambda _path: {"x": "y" * (media_child.MAX_ANSWER_BYTES * 2)})
    assert "crashed" in work_limited({"path": str(tmp_path / "x")})["reason"]


def test_main_answers_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON object for each path, until the input ends."""
    path = tmp_path / "photo"
    path.write_bytes(jpeg())
    line = json.dumps({"path": str(path)})
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{line}\n{line}\n"))
    main()
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["outcome"] for answer in answers] == ["decoded", "decoded"]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100), "video/mp4"),
        (b"\0\0\0\x14ftypqt  " + bytes(64), "video/quicktime"),
        (b"RIFF$\0\0\0WAVEfmt " + bytes(100), "audio/wave"),
        (b"ID3\x03\0\0\0\0\0\x21" + bytes(100), "audio/mpeg"),
        (b"OggS\0\2" + bytes(100), "application/ogg"),
        (b"%PDF-1.7\n%%EOF", "application/pdf"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "application/msword"),
    ],
    ids=["mp4", "mov", "wav", "mp3", "ogg", "pdf", "doc"],
)
def test_other_media_are_told_by_their_bytes(tmp_path: Path, data: bytes, media_type: str) -> None:
    """Video, sound and documents are recognised without being opened."""
    facts = facts_of(tmp_path, data)
    assert (facts["outcome"], facts["media_type"]) == ("not-a-picture", media_type)
