"""From the bytes of one delivery to understood readings and refusals; pure, and nothing is dropped unseen.

The topic names the sensor, which the broker has authenticated for it, and the format. What the registry or the
database must judge (unknown sensor, unknown channel, contradiction) is judged later, where they are known.
"""

from datetime import datetime

from iot_ingest.codecs import quick_json, strict_json
from iot_ingest.codecs.shapes import refuse_whole
from schemas.telemetry import MESSAGE_LIMIT_BYTES, Message, sensor_of

TOPICS_LIMIT = 50_000
"""Most topics whose sensor is remembered."""


class _Sensors(dict[str, str | None]):
    """Remembers which sensor a topic names."""

    def __missing__(self, topic: str) -> str | None:
        if len(self) >= TOPICS_LIMIT:
            self.clear()
        sensor = self[topic] = sensor_of(topic)
        return sensor


_sensors = _Sensors()


def decode(topic: str, payload: bytes, received_at: datetime) -> Message:
    """Decode one delivery.

    Args:
        topic: the topic it came on; the broker has authenticated the device for it.
        payload: the bytes as received.
        received_at: when they were received, aware UTC.

    Returns:
        The message; never raises for anything a sensor may have sent.
    """
    sensor = _sensors[topic]
    if sensor is None:
        return refuse_whole(topic, payload, received_at, "bad-topic")
    if len(payload) > MESSAGE_LIMIT_BYTES:
        detail = f"{len(payload)} bytes, limit {MESSAGE_LIMIT_BYTES}"
        return refuse_whole(topic, payload, received_at, "message-too-large", detail, sensor=sensor)
    message = quick_json.understand(topic, sensor, payload, received_at)
    return message or strict_json.understand(topic, sensor, payload, received_at)
