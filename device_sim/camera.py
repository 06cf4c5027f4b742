"""The cameras of simulated handhelds: real photos from a folder in turn with drawn ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from device_sim.handheld.officer import Camera, Shot
from device_sim.handheld.picture import Picture
from device_sim.photos import MEDIA_TYPE, PhotoFacts, draw_photo
from device_sim.sample.telemetry import BEIJING_TIME

REAL_SHARE = 0.35
"""Share of photos taken from the folder, when there is one; the others are drawn with time and place that fit."""

_MEDIA_TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".png": "image/png", ".heic": "image/heic",
    ".heif": "image/heif", ".webp": "image/webp", ".tif": "image/tiff", ".tiff": "image/tiff", ".bmp": "image/bmp",
    ".gif": "image/gif",
}  # fmt: skip


def camera_for(photos: Sequence[Path], seed: str) -> Camera:
    """A camera whose pictures depend on the seed, the visit and the number of the shot alone."""

    def take(shot: Shot) -> Picture:
        rng = random.Random(f"camera:{seed}:{shot.key}:{shot.number}")
        path = rng.choice(photos) if photos and rng.random() < REAL_SHARE else None
        content = _content(path) if path else None
        if path and content is not None:
            name, media_type = path.name, _MEDIA_TYPES.get(path.suffix.lower(), MEDIA_TYPE)
        else:
            facts = PhotoFacts(
                shot.taken_at.astimezone(BEIJING_TIME), shot.position["lat"], shot.position["lon"], f"visit {shot.key}"
            )
            content = draw_photo(f"{seed}:{shot.key}:{shot.number}", facts)
            name, media_type = f"{shot.key.replace(':', '-')}-{shot.number + 1}.jpg", MEDIA_TYPE
        return Picture(content, name[-100:], media_type, shot.taken_at.isoformat(), dict(shot.position), shot.caption)

    return take


def _content(path: Path) -> bytes | None:
    """The bytes of a real photo; None when it can no longer be read, and then one is drawn."""
    try:
        return path.read_bytes()
    except OSError:
        return None
