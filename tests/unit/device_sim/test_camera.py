"""Cameras: real photos in turn with drawn ones, fixed by the seed."""

import io
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from device_sim.camera import camera_for
from device_sim.handheld.officer import Shot


def shot(number: int) -> Shot:
    """One shot of a visit."""
    position = {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"}
    return Shot("abc:001", number, datetime(2016, 1, 2, 3, 4, tzinfo=UTC), position, "现场照片")


def test_without_a_folder_every_photo_is_drawn() -> None:
    """Drawn photos are JPEGs that differ, with the time and place of the shot."""
    camera = camera_for((), "7")
    pictures = [camera(shot(number)) for number in range(5)]
    assert len({picture.content for picture in pictures}) == 5
    for picture in pictures:
        assert Image.open(io.BytesIO(picture.content)).format == "JPEG"
        assert picture.captured_at == "2016-01-02T03:04:00+00:00"
        assert picture.position["datum"] == "WGS-84"
        assert ":" not in picture.file_name


def test_a_photo_that_is_gone_is_drawn_instead(tmp_path: Path) -> None:
    """A file that vanished since the folder was read does not stop the work."""
    pictures = [camera_for([tmp_path / "gone.jpg"], "7")(shot(number)) for number in range(20)]
    assert all(picture.content.startswith(b"\xff\xd8") for picture in pictures)


def test_real_photos_are_taken_as_they_are(tmp_path: Path) -> None:
    """Bytes of a real photo are not touched; the type follows the name's ending, in any case."""
    (tmp_path / "a.HEIC").write_bytes(b"heic bytes")
    (tmp_path / "b.jpeg").write_bytes(b"broken jpeg")
    camera = camera_for([tmp_path / "a.HEIC", tmp_path / "b.jpeg"], "7")
    pictures = [camera(shot(number)) for number in range(60)]
    types = {picture.content: picture.media_type for picture in pictures}
    assert types[b"heic bytes"] == "image/heic"
    assert types[b"broken jpeg"] == "image/jpeg"
    assert 5 < sum(picture.content[:2] != b"\xff\xd8" for picture in pictures) < 40
    assert [camera(shot(number)) for number in range(60)] == pictures
