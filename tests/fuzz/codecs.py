"""Coverage-guided fuzzing of every codec of telemetry: `fieldproof fuzz` lets Atheris look for bytes that raise.

Atheris instruments the codecs and keeps each input that reaches a new branch, so it finds its way into formats that
random bytes never get past the head of. The first byte of an input chooses the format, the rest is the message. What
it must not find: an exception, a message that is neither understood nor refused, a reason without a name, a number that
is none, an HJ 212 stream that is never read to its end. Importing this module instruments the codecs, so only the
command does it.
"""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import atheris

# before anything else imports them
with atheris.instrument_imports(include=["iot_ingest", "schemas"]):
    from iot_ingest.decode import decode
    from schemas import hj212
    from schemas.telemetry import CODES, FORMATS, readings_topic

from tests.unit.iot_ingest.test_codecs import SAMPLES, SENSOR

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TOPICS = [readings_topic(SENSOR, form) for form in FORMATS]
INPUT_LIMIT_BYTES = 4096


def one_input(data: bytes) -> None:
    """Decode one input as the ingester would.

    Raises:
        AssertionError: what came out is not what the codecs promise.
    """
    if not data:
        return
    number, payload = data[0] % (len(TOPICS) + 1), data[1:]
    if number == len(TOPICS):
        read_stream(payload)
        return
    message = decode(TOPICS[number], payload, NOW)
    if not (message.readings or message.refusals):
        raise AssertionError("neither understood nor refused")
    if not all(refusal.reason in CODES["refusals"] for refusal in message.refusals):
        raise AssertionError("a reason without a name")
    if not all(item.value is None or abs(item.value) < float("inf") for item in message.readings):
        raise AssertionError("a number that is none")


def read_stream(data: bytes) -> None:
    """Take the frames out of what a station sends over TCP, going on behind what is none.

    Raises:
        AssertionError: it would never end.
    """
    start = 0
    while start < len(data):
        try:
            end = hj212.frame_end(data, start)
        except hj212.BadFrame:
            following = data.find(hj212.HEAD, start + 1)
            start = following if following >= 0 else len(data)
            continue
        if end is None:
            return
        if end <= start:
            raise AssertionError("a frame without an end: the stream would never be read")
        with suppress(hj212.BadFrame):
            hj212.decode(data[start:end])
        start = end


def write_corpus(folder: Path) -> None:
    """Write a sound message of each format, and one in another sensor's name, to begin with."""
    for number, form in enumerate(FORMATS):
        for name, payload in (("sound", SAMPLES[form].sound), ("foreign", SAMPLES[form].foreign)):
            (folder / f"{name}-{form}").write_bytes(bytes([number]) + payload)
    (folder / "stream").write_bytes(bytes([len(FORMATS)]) + SAMPLES["hj212"].sound * 2)


def search(runs: int, seed: int, corpus: Path | None) -> NoReturn:
    """Try inputs, and end the process: with 0 when nothing was found, else with 77."""
    with TemporaryDirectory() as temporary:
        folder = corpus or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_corpus(folder)
        flags = [f"-atheris_runs={runs}", f"-seed={seed}", f"-max_len={INPUT_LIMIT_BYTES}", str(folder)]
        atheris.Setup([sys.argv[0], *flags], one_input, enable_python_coverage=True)
        atheris.Fuzz()
    raise AssertionError("Atheris ends the process")
