"""From the bytes of one delivery to understood readings and refusals; pure, and nothing is dropped unseen.

The topic names the sensor, which the broker has authenticated for it, and the format. What the registry or the
database must judge (unknown sensor, unknown channel, contradiction) is judged later, where they are known.
"""

from collections.abc import Callable
from datetime import datetime

from iot_ingest.codecs import cbor, hj212, quick_json, senml, strict_json
from iot_ingest.codecs.shapes import refuse_whole
from schemas.telemetry import CBOR, HJ212, JSON, MESSAGE_LIMIT_BYTES, SENML, Message, sender_of

TOPICS_LIMIT = 50_000
"""Most topics whose sensor is remembered."""


Understand = Callable[[str, str, bytes, datetime], Message]
"""(topic, sensor, payload, received at) → message."""
CODECS: dict[str, Understand] = {
    JSON: strict_json.understand,
    SENML: senml.understand,
    CBOR: cbor.understand,
    HJ212: hj212.understand,
}
"""Format, as topics name it → codec. A new one is one module with such a function, and one line here."""


class _Senders(dict[str, tuple[str, str] | None]):
    """Remembers which sensor and format a topic names."""

    def __missing__(self, topic: str) -> tuple[str, str] | None:
        if len(self) >= TOPICS_LIMIT:
            self.clear()
        sender = self[topic] = sender_of(topic)
        return sender


_senders = _Senders()


def decode(topic: str, payload: bytes, received_at: datetime) -> Message:
    """Decode one delivery.

    Args:
        topic: the topic it came on; the broker has authenticated the device for it.
        payload: the bytes as received.
        received_at: when they were received, aware UTC.

    Returns:
        The message; never raises for anything a sensor may have sent.
    """
    sender = _senders[topic]
    if sender is None:
        return refuse_whole(topic, payload, received_at, "bad-topic")
    sensor, form = sender
    if len(payload) > MESSAGE_LIMIT_BYTES:
        detail = f"{len(payload)} bytes, limit {MESSAGE_LIMIT_BYTES}"
        return refuse_whole(topic, payload, received_at, "message-too-large", detail, sensor=sensor)
    message = quick_json.understand(topic, sensor, payload, received_at) if form == JSON else None
    return message or CODECS[form](topic, sensor, payload, received_at)
