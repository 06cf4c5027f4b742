"""Odd photos on the whole path: captured by a handheld, uploaded, verified, examined, copied, handed over in a bundle.

The photos are drawn here. Those of a folder named by FIELDPROOF_PHOTOS go the same way besides.
"""

import hashlib
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import pillow_heif
import pytest
from PIL import ExifTags, Image
from sqlalchemy import select

from device_sim.camera import camera_for
from device_sim.handheld.officer import Camera, Shot, Visit, tasks_of
from device_sim.handheld.picture import Picture
from device_sim.handheld.visit import VisitPlan
from device_sim.sample.sources import PICTURE_SUFFIXES
from server.casefile.verify_bundle import findings
from server.casefile.writing import export_case
from server.evidence.models import Derivative, Evidence
from server.inspections.models import Inspection
from server.prooflog.keys import load_key
from server.worker import run_once
from tests.integration.device_sim.conftest import MakeHandheld, Platform

ROUNDS = 5
"""Of the worker: verified, examined, drawn, closed and in the proof log after these."""
Photo = tuple[str, bytes]


def encoded(image: Image.Image, kind: str = "JPEG", **how: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def odd_exif() -> Image.Exif:
    """A date that is none, an orientation that is none, positions without denominators, a comment of nonsense."""
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "0000:00:00 00:00:00"
    exif[ExifTags.Base.Orientation] = 99
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:13:45 25:61:61"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"\xff\x00" * 40
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLongitudeRef] = "X", ""
    gps[ExifTags.GPS.GPSLatitude] = gps[ExifTags.GPS.GPSLongitude] = (30.0, 99.0, 1e9)
    return exif


def bomb() -> bytes:
    """A PNG of a few bytes that claims 3,600 megapixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(64)))]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*parts, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def drawn() -> list[Photo]:
    """Sound, odd and damaged photos, no two of the same bytes."""
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    sound, archive = encoded(image, exif=odd_exif()), io.BytesIO(encoded(image, quality=60))
    with zipfile.ZipFile(archive, "a") as polyglot:
        polyglot.writestr("hidden.txt", "hidden")
    heic = io.BytesIO()
    pillow_heif.from_pillow(image).save(heic)
    return [
        ("odd-exif.jpg", sound),
        ("damaged-exif.jpg", sound.replace(b"Exif\x00\x00", b"Exif\x00\x00\xff\xff\xff", 1)),
        ("cut.jpg", sound[: len(sound) // 2]),
        ("only-a-head.jpg", sound[:20]),
        ("noise-behind.jpg", sound + bytes(range(256)) * 20),
        ("polyglot.jpg", archive.getvalue()),
        ("four-inks.jpg", encoded(image.convert("CMYK"))),
        ("one-pixel.png", encoded(image.resize((1, 1)), "PNG")),
        ("phone.HEIC", heic.getvalue()),
        ("named-wrongly.png", encoded(image, quality=50)),
        ("bomb.png", bomb()),
        ("../../etc/passwd.jpg", encoded(image, quality=40)),
        ("no-picture.jpg", b"this is no picture"),
    ]


def from_folder() -> list[Photo]:
    """The photos of the folder in the environment; none without one."""
    folder = os.environ.get("FIELDPROOF_PHOTOS")
    paths = sorted(Path(folder).rglob("*")) if folder else []
    return [(path.name, path.read_bytes()) for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]


def camera_of(photos: list[Photo]) -> Camera:
    """A camera that takes these, one after the other, and draws whatever else is asked for."""
    ordinary = camera_for((), "odd")

    def take(shot: Shot) -> Picture:
        made = ordinary(shot)
        if shot.number >= len(photos):
            return made
        name, content = photos[shot.number]
        return Picture(content, name, "image/jpeg", made.captured_at, made.position, made.caption)

    return take


GROUPS = {name: photos for name, photos in (("drawn", drawn()), ("folder", from_folder())) if photos}


@pytest.mark.parametrize("photos", GROUPS.values(), ids=GROUPS)
def test_odd_photos_go_the_whole_way(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path, photos: list[Photo]
) -> None:
    """Each arrives and is verified; the inspection closes; the bundle holds the bytes as captured, and is sound."""
    device, rt = handheld(), platform.rt
    (chosen,) = platform.world.choose(1, "odd")
    platform.dispatch([chosen])
    device.pull()
    (task,) = tasks_of(device)
    plan = VisitPlan(paired=False, contradicts=(), photos=len(photos))
    assert Visit(device, task, chosen, plan, camera_of(photos)).carry_out()
    device.sync()
    for _ in range(ROUNDS):
        run_once(rt)
    wanted = {hashlib.sha256(content).hexdigest(): content for _, content in photos}
    with rt.db.read() as session:
        rows = [row for row in session.scalars(select(Evidence)) if row.sha256 in wanted]
        copied = set(session.scalars(select(Derivative.evidence)))
        assert session.get_one(Inspection, task.inspection).status == "closed"
    assert {row.sha256 for row in rows} == {*wanted}
    assert {row.status for row in rows} == {"verified"}
    assert all(row.examined_at and row.derived_at for row in rows)
    undecodable = {"undecodable", "decompression-bomb", "not-a-picture"}
    for row in rows:
        assert (row.id in copied) != bool(undecodable & {flag["code"] for flag in row.flags}), row.file_name
    bundle = tmp_path / "case.zip"
    export_case(rt, task.inspection, bundle, actor="account:sample")
    assert list(findings(bundle, load_key(rt.settings).verifier.encode())) == []
    with zipfile.ZipFile(bundle) as archive:
        kept = [archive.read(name) for name in archive.namelist() if name.startswith("evidence/")]
    assert {*wanted.values()} <= {*kept}
