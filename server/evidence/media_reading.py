"""Reading hostile bytes: a file's type, a picture's size, EXIF and perceptual hash. Runs in the limited child only.

The perceptual hash is the usual one (pHash): the signs of the 64 lowest frequencies of a 32 x 32 grey copy against
their median. Copies that were resized, compressed again or slightly retouched differ in few of the 64 bits.
"""

import math
import re
import statistics
from pathlib import Path
from typing import Any

import pillow_heif
import puremagic
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "HEIF")
"""The only decoders that ever see a file; Pillow would try more than forty."""
MEDIA_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "HEIF": "image/heif"}
UNKNOWN_TYPE = "application/octet-stream"
MAX_PIXELS = 120_000_000
"""Largest picture that is decoded (a 108-megapixel telephone still passes)."""
MAX_TEXT_CHARS = 100
DRAFT_DIVISOR = 8
"""JPEG decodes at an eighth: every coded bit is still read, in a sixty-fourth of the memory."""
HASH_SIDE, HASH_FREQUENCIES = 32, 8
MIN_CONTRAST = 0.3
"""Mean size of the frequencies below which a picture is too flat to be told from others: photos have 1 to 4."""
SECOND_TYPES = ((b"%PDF-", "application/pdf"), (b"PK\x05\x06", "application/zip"), (b"<script", "text/html"))
"""Marks of other formats that programs look for inside a file."""
LOOK_BYTES = 70_000
"""How much of a picture's beginning and end is searched for them; a ZIP directory ends within 65,557 bytes."""

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
MAKE, MODEL, SOFTWARE, ORIENTATION, DATE_TIME = 0x010F, 0x0110, 0x0131, 0x0112, 0x0132
DATE_TIME_ORIGINAL, OFFSET_TIME, OFFSET_TIME_ORIGINAL = 0x9003, 0x9010, 0x9011
LAT_REF, LAT, LON_REF, LON, MAP_DATUM = 1, 2, 3, 4, 18
EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
EXIF_OFFSET = re.compile(r"[+-]\d\d:\d\d")
WAVES = [
    [math.cos(math.pi * k * (2 * n + 1) / (2 * HASH_SIDE)) for n in range(HASH_SIDE)] for k in range(HASH_FREQUENCIES)
]


def examine(path: Path) -> dict[str, Any]:
    """Return the facts of one file, in the JSON form of `server.evidence.facts.MediaFacts`.

    Raises:
        OSError: the file cannot be read.
        MemoryError: the memory limit was reached.
    """
    facts: dict[str, Any] = {"width": None, "height": None, "reason": None, "exif": {}}
    if path.stat().st_size == 0:
        return facts | {"outcome": "not-a-picture", "media_type": UNKNOWN_TYPE, "reason": "the file is empty"}
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None  # Pillow only warns up to twice its limit; ours is below, and keeps the size
    try:
        with Image.open(path, formats=FORMATS) as picture:
            facts |= {"media_type": MEDIA_TYPES[picture.format or ""], "width": picture.width, "height": picture.height}
            if picture.width * picture.height > MAX_PIXELS:
                return facts | {"outcome": "decompression-bomb", "reason": f"more than {MAX_PIXELS} pixels"}
            facts["exif"] = read_exif(picture)
            picture.draft("RGB", (max(1, picture.width // DRAFT_DIVISOR), max(1, picture.height // DRAFT_DIVISOR)))
            picture.load()
            facts["phash"], facts["second_type"] = perceptual_hash(picture), second_type(path)
            return facts | {"outcome": "decoded"}
    except UnidentifiedImageError:
        media_type = sniff(path)
        outcome = "undecodable" if media_type in MEDIA_TYPES.values() else "not-a-picture"
        return facts | {"outcome": outcome, "media_type": media_type, "reason": "no picture can be opened"}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders fail in every way on hostile bytes; each means the same here
        media_type = facts.get("media_type") or sniff(path)
        return facts | {"outcome": "undecodable", "media_type": media_type, "reason": reason_of(error)}


def sniff(path: Path) -> str:
    """Return the media type that a file's first and last bytes show; the name is not looked at."""
    with path.open("rb") as file:
        try:
            matches = puremagic.magic_stream(file)
        except (puremagic.PureError, ValueError):
            return UNKNOWN_TYPE
    return next((match.mime_type for match in matches if match.mime_type), UNKNOWN_TYPE)


def second_type(path: Path) -> str | None:
    """Return the other format that a picture also passes for (a polyglot), or None."""
    with path.open("rb") as file:
        ends = file.read(LOOK_BYTES)
        file.seek(max(0, path.stat().st_size - LOOK_BYTES))
        ends += file.read(LOOK_BYTES)
    return next((name for mark, name in SECOND_TYPES if mark in ends), None)


def perceptual_hash(picture: Image.Image) -> str | None:
    """Return the 64-bit pHash as 16 hex digits; None for a picture too flat to have one.

    Orientation is applied first, so that a copy turned by its metadata and one turned in its pixels agree.
    """
    grey = ImageOps.exif_transpose(picture).convert("L").resize((HASH_SIDE, HASH_SIDE), Image.Resampling.LANCZOS)
    pixels = list(grey.tobytes())
    rows = [_low_frequencies(pixels[start : start + HASH_SIDE]) for start in range(0, HASH_SIDE**2, HASH_SIDE)]
    columns = [_low_frequencies([row[index] for row in rows]) for index in range(HASH_FREQUENCIES)]
    values = [column[index] for index in range(HASH_FREQUENCIES) for column in columns]
    if statistics.fmean(map(abs, values[1:])) < MIN_CONTRAST:
        return None
    median = statistics.median(values[1:])
    return f"{sum((value > median) << place for place, value in enumerate(values)):016x}"


def _low_frequencies(values: list[Any]) -> list[float]:
    """Return the first coefficients of the discrete cosine transform (type II), by mean."""
    return [sum(map(float.__mul__, wave, map(float, values))) / HASH_SIDE for wave in WAVES]


def read_exif(picture: Image.Image) -> dict[str, Any]:
    """Return the EXIF members of interest; whatever makes no sense is left out."""
    try:
        exif = picture.getexif()
        detail, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
    except Exception:  # noqa: BLE001 - damaged EXIF raises anything; the picture itself may be fine
        return {}
    taken = _time(detail.get(DATE_TIME_ORIGINAL)) or _time(exif.get(DATE_TIME))
    modified = _time(exif.get(DATE_TIME))
    offset = _text(detail.get(OFFSET_TIME_ORIGINAL)) or _text(detail.get(OFFSET_TIME))
    lat = _degrees(gps.get(LAT), gps.get(LAT_REF), "NS", 90)
    lon = _degrees(gps.get(LON), gps.get(LON_REF), "EW", 180)
    orientation = exif.get(ORIENTATION)
    found = {
        "taken_at": taken,
        "utc_offset": offset if offset and EXIF_OFFSET.fullmatch(offset) else None,
        "lat": lat if lon is not None else None,
        "lon": lon if lat is not None else None,
        "datum": _text(gps.get(MAP_DATUM)),
        "make": _text(exif.get(MAKE)),
        "model": _text(exif.get(MODEL)),
        "software": _text(exif.get(SOFTWARE)),
        "modified_at": modified if modified != taken else None,
        "orientation": orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    clean = "".join(each for each in value if each.isprintable()).strip()
    return clean[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode() or None


def _time(value: object) -> str | None:
    match = EXIF_TIME.match(value) if isinstance(value, str) else None
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}" if match else None


def _degrees(value: object, ref: object, refs: str, limit: int) -> float | None:
    if not isinstance(value, tuple) or len(value) != 3 or not isinstance(ref, str) or ref[:1] not in tuple(refs):
        return None
    try:
        degrees = float(value[0]) + float(value[1]) / 60 + float(value[2]) / 3600
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(degrees) or degrees > limit or degrees < 0:
        return None
    return round(-degrees if ref[0] == refs[1] else degrees, 7)


def reason_of(error: BaseException) -> str:
    """Return an error as one short line."""
    return f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace").decode()
