"""The search for bytes that break a codec: it runs, and it would find them."""

import subprocess
import sys

import pytest

pytest.importorskip("atheris", reason="atheris is missing: it has wheels for Linux on x86-64 only")

from iot_ingest.decode import decode
from schemas.telemetry import HJ212, JSON
from tests.fuzz import codecs
from tests.unit.iot_ingest.test_codecs import SAMPLES


def test_some_thousand_inputs_break_nothing() -> None:
    """The command ends well, having reached more branches than it began with."""
    command = [sys.executable, "-m", "tests.fuzz.cli", "--runs", "5000", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed 7" in done.stdout
    assert "Done 5000" in done.stderr
    assert "NEW" in done.stderr


def test_what_a_codec_must_not_do_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is neither understood nor refused ends the search."""
    sound = b"\x00" + SAMPLES[JSON].sound
    codecs.one_input(sound)
    message = decode(codecs.TOPICS[0], sound[1:], codecs.NOW)
    monkeypatch.setattr(codecs, "decode", lambda *_: type(message)(message.topic, b"", message.received_at))
    with pytest.raises(AssertionError, match="neither"):
        codecs.one_input(sound)


def test_a_stream_is_read_to_its_end() -> None:
    """Frames, rubbish between them, half a frame."""
    frame = SAMPLES[HJ212].sound
    for data in (frame, b"##99xx" + frame, frame + b"\x00\x00" + frame[:9], b"", b"####"):
        codecs.read_stream(data)
