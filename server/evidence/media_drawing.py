"""Drawing derivatives of a picture: a thumbnail, or a copy with a band that says what it is a copy of.

Runs in the limited child only. Nothing of the original's metadata is carried over, and its orientation is applied.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image, ImageDraw, ImageFont, ImageOps

from server.evidence.media_reading import FORMATS, MAX_PIXELS

MAX_DRAWN_BYTES = 32 * 1024 * 1024
"""Largest file that is written."""
QUALITY = 85
MAX_LINES = 12
MIN_TEXT_PX = 12
TEXT_SHARE = 45
"""A line of text takes this part of the longer side."""
BAND = (0, 0, 0, 170)
INK, FAINT = (255, 255, 255, 255), (255, 255, 255, 40)
FONT_INDEX = 2
"""Simplified Chinese among the faces of the collection."""
FONT_STYLE = "Medium"


def draw(path: Path, *, target: str, side_px: int, font: str = "", lines: Sequence[str] = ()) -> dict[str, Any]:
    """Write a JPEG derived from a picture.

    Args:
        path: the original.
        target: the file to write.
        side_px: the longer side is at most this long.
        font: the font collection for the text.
        lines: what the band says; without any there is no band.

    Returns:
        `{"drawn": true}`.

    Raises:
        OSError, ValueError, MemoryError and whatever decoders raise: nothing to be drawn of these bytes.
    """
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None  # ours is below and has been checked when the file was examined
    with Image.open(path, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        picture.draft("RGB", (side_px, side_px))
        copy = ImageOps.exif_transpose(picture).convert("RGB")
    copy.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    if lines:
        copy = _with_band(copy, lines[:MAX_LINES], font)
    copy.save(target, "JPEG", quality=QUALITY, optimize=True)
    return {"drawn": True}


def _with_band(copy: Image.Image, lines: Sequence[str], font: str) -> Image.Image:
    """Lay a dark band with text over the lower edge, and the last line (the hash) faintly across the picture."""
    size_px = max(MIN_TEXT_PX, max(copy.size) // TEXT_SHARE)
    face = ImageFont.truetype(font, size_px, index=FONT_INDEX)
    face.set_variation_by_name(FONT_STYLE)
    margin = size_px // 2
    fitted = [part for line in lines for part in _wrap(line, face, copy.width - 2 * margin)]
    step = size_px * 4 // 3
    height = step * len(fitted) + 2 * margin
    if height > copy.height:  # a flat picture: the band goes below it
        taller = Image.new("RGB", (copy.width, copy.height + height))
        taller.paste(copy)
        copy = taller
    layer = Image.new("RGBA", copy.size)
    pen = ImageDraw.Draw(layer)
    for y in range(step, copy.height - height, step * 8):
        pen.text((margin + (y * 3) % max(1, copy.width // 3), y), lines[-1], font=face, fill=FAINT)
    top = copy.height - height
    pen.rectangle((0, top, copy.width, copy.height), fill=BAND)
    for number, line in enumerate(fitted):
        pen.text((margin, top + margin + number * step), line, font=face, fill=INK)
    return Image.alpha_composite(copy.convert("RGBA"), layer).convert("RGB")


def _wrap(line: str, face: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Cut a line into pieces that fit; Chinese has no spaces to cut at, so any character may be the last."""
    pieces, piece = [], ""
    for character in line:
        if piece and face.getlength(piece + character) > width_px:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]
