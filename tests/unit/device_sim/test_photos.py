"""Drawn photos: deterministic JPEGs with the EXIF a phone writes."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from PIL import ExifTags, Image

from device_sim.photos import HEIGHT_PX, ORIENTATIONS, WIDTH_PX, PhotoFacts, draw_photo

FACTS = PhotoFacts(datetime(2016, 3, 4, 9, 30, 5, tzinfo=timezone(timedelta(hours=8))), 30.5928, 114.3055, "visit 06")


def opened(content: bytes) -> Image.Image:
    """The picture, decoded whole."""
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    image.load()
    return image


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Seed and facts decide; another seed draws another picture."""
    assert draw_photo("a", FACTS) == draw_photo("a", FACTS) != draw_photo("b", FACTS)


def test_scenes_vary() -> None:
    """Twenty seeds give twenty pictures of different sizes in bytes."""
    pictures = [draw_photo(str(n), FACTS) for n in range(20)]
    assert len({len(picture) for picture in pictures}) > 10
    assert all(opened(picture).size == (WIDTH_PX, HEIGHT_PX) for picture in pictures)


def test_exif_states_the_facts() -> None:
    """Time with its offset, position with its datum, camera and orientation are all there."""
    exif = opened(draw_photo("a", FACTS)).getexif()
    details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert details[ExifTags.Base.DateTimeOriginal] == "2016:03:04 09:30:05"
    assert details[ExifTags.Base.OffsetTimeOriginal] == "+08:00"
    assert gps[ExifTags.GPS.GPSMapDatum] == "WGS-84"
    assert gps[ExifTags.GPS.GPSDateStamp] == "2016:03:04"
    assert gps[ExifTags.GPS.GPSTimeStamp] == (1.0, 30.0, 5.0)
    assert exif[ExifTags.Base.Make] == "Fieldproof"
    assert exif[ExifTags.Base.Model]
    assert exif[ExifTags.Base.Orientation] in ORIENTATIONS
    degrees, minutes, seconds = (float(part) for part in gps[ExifTags.GPS.GPSLatitude])
    assert degrees + minutes / 60 + seconds / 3600 == pytest.approx(30.5928, abs=3e-6)
    assert (gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLongitudeRef]) == ("N", "E")


def test_south_west_and_offsets_before_utc() -> None:
    """Negative coordinates and offsets are written as EXIF wants them."""
    facts = PhotoFacts(datetime(2016, 1, 1, tzinfo=timezone(-timedelta(hours=3, minutes=30))), -33.9, -70.25, "")
    exif = opened(draw_photo("a", facts)).getexif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert (gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLongitudeRef]) == ("S", "W")
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.OffsetTimeOriginal] == "-03:30"


def test_captions_in_chinese_do_not_fail() -> None:
    """A caption that the font cannot show is left out, not raised."""
    picture = opened(draw_photo("a", PhotoFacts(datetime(2016, 1, 1, tzinfo=UTC), 30.0, 114.0, "现场")))
    assert picture.format == "JPEG"


def test_a_time_without_zone_is_refused() -> None:
    """A photo that cannot say when it was taken is not drawn."""
    with pytest.raises(ValueError, match="time zone"):
        draw_photo("a", PhotoFacts(datetime(2016, 1, 1), 30.0, 114.0, ""))  # noqa: DTZ001 - the fault under test
