"""The photo soak in small, and that it can fail."""

from pathlib import Path

import pytest

from server.evidence.stores import open_store
from tests.soak.load import SoakFailed
from tests.soak.photos import PhotoSoak

PHOTOS, KILLS = 16, 4


@pytest.mark.slow
def test_photos_survive_kills(tmp_path: Path) -> None:
    """Every photo is evidence, attached once; a photo that the store loses afterwards is missed."""
    with PhotoSoak(tmp_path / "home", seed=3, photos=PHOTOS) as soak:
        assert list(soak.run(KILLS)) == list(range(1, KILLS + 1))
        assert soak.attempts > 0
        (blob,) = list((tmp_path / "home" / "evidence" / "blobs").glob("*/*"))[:1]
        open_store(soak.rt.settings).remove(blob.name)
        with pytest.raises(OSError, match=blob.name):
            soak._look()
        blob.write_bytes(b"other bytes")
        with pytest.raises(SoakFailed, match="other bytes"):
            soak._look()
