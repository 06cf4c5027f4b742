"""Pictures that simulated handhelds take: drawn scenes as JPEG with real EXIF.

No real photo is shipped. A drawn one is a scene of simple shapes that differs from picture to picture, with a caption
in Latin letters (fonts for Chinese are not everywhere). Time, position (with its datum named), make, model and
orientation are written as EXIF, as a phone would. The same seed and facts give the same bytes on one Pillow version.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from PIL import ExifTags, Image, ImageDraw, ImageFont
from PIL.TiffImagePlugin import IFDRational

WIDTH_PX, HEIGHT_PX = 640, 480
JPEG_QUALITY = 78
MEDIA_TYPE = "image/jpeg"
MAKE, MODEL = "Fieldproof", "Simulated Handheld"
DATUM = "WGS-84"
ORIENTATIONS = (1, 1, 1, 3, 6, 8)
"""Upright mostly, and the three turns that a hand makes."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What a photo says about itself: when it was taken (aware), where (WGS-84 degrees), and a caption."""

    taken_at: datetime
    latitude: float
    longitude: float
    caption: str


def _sexagesimal(degrees: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Degrees, minutes and hundredths of a second as EXIF rationals; 0.01 second is about 0.3 m."""
    hundredths = round(abs(degrees) * 360_000)
    whole, rest = divmod(hundredths, 360_000)
    minutes, seconds = divmod(rest, 6_000)
    return IFDRational(whole, 1), IFDRational(minutes, 1), IFDRational(seconds, 100)


def _offset_text(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def exif_of(facts: PhotoFacts, orientation: int = 1) -> Image.Exif:
    """EXIF with time and offset, GPS position and datum, camera and orientation (EXIF 2.32 tag names).

    Raises `ValueError` when `taken_at` has no time zone.
    """
    offset = facts.taken_at.utcoffset()
    if offset is None:
        raise ValueError("taken_at must name its time zone")
    exif = Image.Exif()
    clock_text = facts.taken_at.strftime("%Y:%m:%d %H:%M:%S")
    exif[ExifTags.Base.Make] = MAKE
    exif[ExifTags.Base.Model] = MODEL
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.DateTime] = clock_text
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = clock_text
    details[ExifTags.Base.DateTimeDigitized] = clock_text
    details[ExifTags.Base.OffsetTimeOriginal] = _offset_text(offset)
    details[ExifTags.Base.OffsetTimeDigitized] = _offset_text(offset)
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    in_utc = facts.taken_at.astimezone(UTC)
    gps[ExifTags.GPS.GPSVersionID] = b"\x02\x03\x00\x00"
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if facts.latitude >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = _sexagesimal(facts.latitude)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if facts.longitude >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = _sexagesimal(facts.longitude)
    gps[ExifTags.GPS.GPSMapDatum] = DATUM
    gps[ExifTags.GPS.GPSDateStamp] = in_utc.strftime("%Y:%m:%d")
    gps[ExifTags.GPS.GPSTimeStamp] = (in_utc.hour, in_utc.minute, in_utc.second)
    return exif


def _shade(rng: random.Random, base: Colour, spread: int = 25) -> Colour:
    red, green, blue = (max(0, min(255, channel + rng.randint(-spread, spread))) for channel in base)
    return red, green, blue


def _kitchen(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """A tiled wall, a steel counter and pots."""
    wall, grout = _shade(rng, (222, 226, 222)), _shade(rng, (180, 186, 184), 10)
    draw.rectangle((0, 0, WIDTH_PX, HEIGHT_PX), wall)
    tile = rng.choice((32, 40, 53))
    for x in range(0, WIDTH_PX, tile):
        draw.line((x, 0, x, 300), grout, 2)
    for y in range(0, 300, tile):
        draw.line((0, y, WIDTH_PX, y), grout, 2)
    draw.rectangle((0, 300, WIDTH_PX, HEIGHT_PX), _shade(rng, (150, 155, 160)))
    draw.rectangle((0, 300, WIDTH_PX, 318), _shade(rng, (205, 208, 212)))
    for _ in range(rng.randint(2, 5)):
        left, width, height = rng.randint(10, 520), rng.randint(60, 130), rng.randint(40, 110)
        draw.rounded_rectangle((left, 300 - height, left + width, 300), 8, _shade(rng, (120, 120, 130), 45))
        draw.line((left - 12, 306 - height, left + width + 12, 306 - height), (60, 60, 65), 5)


def _store_room(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """Shelves with boxes, some out of line."""
    draw.rectangle((0, 0, WIDTH_PX, HEIGHT_PX), _shade(rng, (196, 186, 168)))
    draw.rectangle((0, 400, WIDTH_PX, HEIGHT_PX), _shade(rng, (120, 112, 104)))
    for shelf_y in (130, 240, 350):
        x = rng.randint(10, 40)
        while x < WIDTH_PX - 60:
            width, height = rng.randint(36, 90), rng.randint(34, 86)
            draw.rectangle(
                (x, shelf_y - height, x + width, shelf_y), _shade(rng, (178, 138, 92), 40), outline=(90, 70, 50)
            )
            x += width + rng.randint(2, 24)
        draw.rectangle((0, shelf_y, WIDTH_PX, shelf_y + 9), _shade(rng, (96, 100, 108)))


def _outlet(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """Chimneys and their smoke over a roof line."""
    sky = _shade(rng, (168, 190, 210))
    draw.rectangle((0, 0, WIDTH_PX, HEIGHT_PX), sky)
    draw.rectangle((0, 360, WIDTH_PX, HEIGHT_PX), _shade(rng, (110, 106, 100)))
    for _ in range(rng.randint(2, 4)):
        left, height, width = rng.randint(40, 540), rng.randint(140, 250), rng.randint(26, 48)
        draw.rectangle((left, 360 - height, left + width, 380), _shade(rng, (150, 96, 84)))
        for puff in range(rng.randint(2, 6)):
            radius, x, y = 14 + 7 * puff, left + 22 * puff, 350 - height - 20 * puff
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), _shade(rng, (190, 190, 192), 12))


def _doorway(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """A shop front with a sign, a door and windows."""
    draw.rectangle((0, 0, WIDTH_PX, HEIGHT_PX), _shade(rng, (206, 198, 190)))
    draw.rectangle((0, 420, WIDTH_PX, HEIGHT_PX), _shade(rng, (130, 130, 130)))
    draw.rectangle((40, 40, 600, 120), _shade(rng, (168, 44, 40), 30))
    door = rng.randint(80, 440)
    draw.rectangle((door, 170, door + 110, 420), _shade(rng, (92, 70, 54)))
    draw.ellipse((door + 90, 290, door + 100, 300), (220, 200, 90))
    for left in (60, 250, 460):
        if abs(left - door) > 130:
            draw.rectangle((left, 190, left + 120, 310), _shade(rng, (140, 176, 196)), outline=(70, 70, 70), width=4)


_SCENES: tuple[Callable[[ImageDraw.ImageDraw, random.Random], None], ...] = (_kitchen, _store_room, _outlet, _doorway)


def draw_photo(seed: str, facts: PhotoFacts) -> bytes:
    """A JPEG of 640x480 pixels whose scene depends on `seed` alone and whose EXIF and caption state `facts`.

    Raises `ValueError` when `taken_at` has no time zone.
    """
    rng = random.Random(f"photo:{seed}")
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX))
    draw = ImageDraw.Draw(image)
    rng.choice(_SCENES)(draw, rng)
    for _ in range(600):
        # Grain, so that no two pictures compress to the same shape and sizes vary as real ones do.
        x, y, value = rng.randrange(WIDTH_PX), rng.randrange(HEIGHT_PX), rng.randrange(256)
        draw.point((x, y), (value, value, value))
    font = ImageFont.load_default(18)
    stamp = f"{facts.taken_at:%Y-%m-%d %H:%M:%S %z}  {facts.latitude:.6f}, {facts.longitude:.6f} {DATUM}"
    draw.rectangle((0, HEIGHT_PX - 58, WIDTH_PX, HEIGHT_PX), (24, 24, 28))
    draw.text((12, HEIGHT_PX - 54), "FIELDPROOF SAMPLE  " + facts.caption.encode("ascii", "ignore").decode()[:44],
              (240, 240, 240), font)  # fmt: skip
    draw.text((12, HEIGHT_PX - 29), stamp, (250, 214, 90), font)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, exif=exif_of(facts, rng.choice(ORIENTATIONS)).tobytes())
    return out.getvalue()
