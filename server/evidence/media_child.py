"""The child process that looks at hostile bytes: finds a file's type, decodes pictures, reads EXIF, under hard limits.

Run as a script, so that it imports nothing of the server. It reads one JSON string (a path) per line and answers one
JSON object per line. For each file it forks: the fork sets its own limits on memory, processor time and written
bytes, does the work and ends; so a file that kills the decoder kills one fork.
"""

import contextlib
import json
import math
import os
import re
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pillow_heif
import puremagic
from PIL import Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "HEIF")
"""The only decoders that ever see a file; Pillow would try more than forty."""
MEDIA_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "HEIF": "image/heif"}
UNKNOWN_TYPE = "application/octet-stream"
MAX_PIXELS = 120_000_000
"""Largest picture that is decoded (a 108-megapixel telephone still passes)."""
MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of one fork."""
CPU_S = 30
"""Processor time of one fork."""
WALL_S = 60
"""Time after which a fork is ended."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_TEXT_CHARS = 100
DRAFT_DIVISOR = 8
"""JPEG decodes at an eighth: every coded bit is still read, in a sixty-fourth of the memory."""

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
MAKE, MODEL, SOFTWARE, ORIENTATION, DATE_TIME = 0x010F, 0x0110, 0x0131, 0x0112, 0x0132
DATE_TIME_ORIGINAL, OFFSET_TIME, OFFSET_TIME_ORIGINAL = 0x9003, 0x9010, 0x9011
LAT_REF, LAT, LON_REF, LON, MAP_DATUM = 1, 2, 3, 4, 18
EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
EXIF_OFFSET = re.compile(r"[+-]\d\d:\d\d")


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
            return facts | {"outcome": "decoded"}
    except UnidentifiedImageError:
        media_type = sniff(path)
        outcome = "undecodable" if media_type in MEDIA_TYPES.values() else "not-a-picture"
        return facts | {"outcome": outcome, "media_type": media_type, "reason": "no picture can be opened"}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders fail in every way on hostile bytes; each means the same here
        media_type = facts.get("media_type") or sniff(path)
        return facts | {"outcome": "undecodable", "media_type": media_type, "reason": _reason(error)}


def sniff(path: Path) -> str:
    """Return the media type that a file's first and last bytes show; the name is not looked at."""
    with path.open("rb") as file:
        try:
            matches = puremagic.magic_stream(file)
        except (puremagic.PureError, ValueError):
            return UNKNOWN_TYPE
    return next((match.mime_type for match in matches if match.mime_type), UNKNOWN_TYPE)


def read_exif(picture: Image.Image) -> dict[str, Any]:
    """Return the EXIF members of interest; whatever makes no sense is left out."""
    try:
        exif = picture.getexif()
        detail, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
    except Exception:  # noqa: BLE001 - damaged EXIF raises anything; the picture itself may be fine
        return {}
    taken = _time(detail.get(DATE_TIME_ORIGINAL)) or _time(exif.get(DATE_TIME))
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


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200].encode("utf-8", "replace").decode()


def failed(reason: str, outcome: str = "undecodable") -> dict[str, Any]:
    """Return the facts of a file whose examination did not end by itself."""
    return {"outcome": outcome, "media_type": UNKNOWN_TYPE, "reason": reason, "width": None, "height": None, "exif": {}}


def examine_limited(path: Path, wall_s: float = WALL_S) -> dict[str, Any]:
    """Examine one file in a fork with limits, and return its facts or why there are none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(path, writer)
    os.close(writer)
    try:
        answer = _read_until(reader, time.monotonic() + wall_s)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        return failed(f"took longer than {wall_s} s")
    if not answer:
        return failed("the decoder crashed or used up its processor time")
    facts: dict[str, Any] = json.loads(answer)
    return facts


def _work(path: Path, writer: int) -> None:
    """The fork: set limits, examine, answer, end without returning."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            facts = examine(path)
        except MemoryError:
            facts = failed("decoding takes more memory than allowed", "decompression-bomb")
        except OSError as error:
            facts = {"error": _reason(error)}
        os.write(writer, json.dumps(facts).encode())
    finally:
        os._exit(0)


def _read_until(descriptor: int, deadline: float) -> bytes | None:
    """Read to the end of a pipe; None when the deadline passes first."""
    answer = b""
    while len(answer) <= MAX_ANSWER_BYTES:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, MAX_ANSWER_BYTES)
        if not piece:
            return answer
        answer += piece
    return b""


def main() -> None:
    """Answer each line of standard input until it ends."""
    pillow_heif.register_heif_opener()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(examine_limited(Path(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
