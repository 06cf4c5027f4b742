"""The parent's side: the child answers, and a child that dies or hangs is survived."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from server.evidence.facts import DECODED, NOT_A_PICTURE, UNDECODABLE
from server.evidence.media import MediaExaminer, examiner


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small PNG."""
    path = tmp_path / "photo"
    Image.new("RGB", (4, 4), "blue").save(path, "PNG")
    return path


def test_real_child_examines_files(photo: Path, tmp_path: Path) -> None:
    """One child answers for several files."""
    other = tmp_path / "name with\nline break 名"
    other.write_bytes(b"words")
    with examiner() as child:
        assert child.examine(photo).outcome == DECODED
        assert child.examine(other).outcome == NOT_A_PICTURE
        assert child.examine(photo).media_type == "image/png"


def test_unreadable_file_raises(tmp_path: Path) -> None:
    """A file that cannot be read is tried again later, not judged."""
    with examiner() as child, pytest.raises(OSError, match="FileNotFoundError"):
        child.examine(tmp_path / "none")


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "input(); input()"], ids=["dies", "hangs"])
def test_failing_child_is_a_finding_and_is_replaced(photo: Path, program: str) -> None:
    """Whatever happens to the child, the worker goes on."""
    child = MediaExaminer((sys.executable, "-c", program), answer_s=0.3)
    try:
        for _ in range(2):
            facts = child.examine(photo)
            assert (facts.outcome, facts.reason) == (UNDECODABLE, "the examination broke off")
    finally:
        child.close()


def test_child_sees_no_passwords(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the child holds nothing it does not need."""
    monkeypatch.setenv("FIELDPROOF_MQTT_PASSWORD", "not for decoders")
    program = (
        "import os, json; input();"
        "print(json.dumps({'outcome': 'decoded', 'media_type': ' '.join(sorted(os.environ)), 'exif': {}}))"
    )
    child = MediaExaminer((sys.executable, "-c", program))
    try:
        assert "FIELDPROOF" not in child.examine(photo).media_type
    finally:
        child.close()
