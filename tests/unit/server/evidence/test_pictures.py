"""Perceptual hashes: copies stay close, other pictures are far, and close ones share a band."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from server.evidence.media_reading import perceptual_hash, second_type
from server.evidence.pictures import BANDS, bands_of, bits_apart


def scene(seed: int) -> Image.Image:
    """A picture of boxes that the seed decides."""
    source = random.Random(seed)
    picture = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y = source.randrange(560), source.randrange(400)
        box = (x, y, x + source.randrange(40, 300), y + source.randrange(40, 240))
        pen.rectangle(box, fill=tuple(source.randrange(256) for _ in range(3)))
    return picture


def hash_of(picture: Image.Image) -> str:
    """The hash of a picture that is not flat."""
    found = perceptual_hash(picture)
    assert found is not None
    return found


def compressed(picture: Image.Image) -> Image.Image:
    """The picture after a strong compression."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=35)
    return Image.open(out)


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_close_and_others_far(seed: int) -> None:
    """Resized, compressed, brightened: at most six bits; another picture: more than twice that."""
    picture = scene(seed)
    first = hash_of(picture)
    for copy in (picture.resize((200, 150)), compressed(picture), ImageEnhance.Brightness(picture).enhance(1.1)):
        assert bits_apart(first, hash_of(copy)) <= 6
    assert bits_apart(first, hash_of(scene(seed + 100))) > 12


def test_flat_pictures_have_no_hash() -> None:
    """One colour looks like any other one."""
    assert perceptual_hash(Image.new("RGB", (64, 64), "red")) is None


def test_three_bits_leave_a_band_untouched() -> None:
    """However three bits are chosen, one of four bands agrees."""
    source = random.Random(1)
    for _ in range(200):
        value = source.getrandbits(64)
        other = value
        for place in source.sample(range(64), 3):
            other ^= 1 << place
        first, second = f"{value:016x}", f"{other:016x}"
        assert bits_apart(first, second) == 3
        assert any(bands_of(first)[band] == bands_of(second)[band] for band in range(BANDS))


def test_second_type_is_looked_for_at_both_ends(tmp_path: Path) -> None:
    """An archive's directory at the end, a document's head at the beginning, and neither in a plain picture."""
    path = tmp_path / "file"
    for content, expected in (
        (b"\xff\xd8" + bytes(300_000) + b"PK\x05\x06" + bytes(18), "application/zip"),
        (b"\xff\xd8%PDF-1.7" + bytes(300_000), "application/pdf"),
        (b"\xff\xd8" + bytes(300_000), None),
    ):
        path.write_bytes(content)
        assert second_type(path) == expected
