"""HJ 212 over MQTT or TCP: a payload is one message, as one frame or as all frames of a split one.

Commands 2011, 2051, 2061 and 2031 carry real-time, minute, hour and day values. The frame's MN must be the sensor's id;
there is no sequence number, and no unit: values are in the unit that the registry
gives the channel. A packet that brings its own DataTime stands by itself; otherwise all PNUM packets must be there.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from iot_ingest.codecs.contract import understand_body
from iot_ingest.codecs.shapes import refuse_whole
from schemas import hj212
from schemas.hj212 import BadFrame, Content, Packet
from schemas.telemetry import DAY, HJ212_FACTORS, HOUR, MINUTE, REALTIME, Message

KINDS = {hj212.REALTIME: REALTIME, hj212.MINUTE: MINUTE, hj212.HOUR: HOUR, hj212.DAY: DAY}
VALUES = {REALTIME: "Rtd", MINUTE: "Avg", HOUR: "Avg", DAY: "Avg"}
"""The field that holds the value."""
FLOW_TOTAL = "Cou"
MISSING = ("", "-", "NA", "NULL")

Json = Any


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message:
    """Return the message of a sensor; a refusal of the whole is a message without readings."""
    try:
        packets = whole_message(payload)
        body = _body(packets)
    except BadFrame as error:
        return refuse_whole(topic, payload, received_at, error.reason, str(error)[:200], sensor=sensor)
    return understand_body(topic, payload, received_at, sensor, body, numbered=False)


def answer(payload: bytes) -> bytes:
    """Return the platform's answer 9014 to a message that was understood."""
    return hj212.data_answer(whole_message(payload)[0])


def whole_message(payload: bytes) -> list[Packet]:
    """Return the packets of one message, in order.

    Raises:
        BadFrame: not frames, frames of several messages, or packets are missing.
    """
    packets = sorted((hj212.decode(frame) for frame in hj212.frames_of(payload)), key=lambda packet: packet.pno)
    if not packets:
        raise BadFrame("bad-frame", "empty")
    first = packets[0]
    if any((packet.qn, packet.cn, packet.mn, packet.pnum) != (first.qn, first.cn, first.mn, first.pnum)
           for packet in packets):  # fmt: skip
        raise BadFrame("bad-frame", "frames of several messages")
    numbers = [packet.pno for packet in packets]
    alone = len(packets) == 1 and "DataTime=" in first.content
    if numbers != list(range(1, first.pnum + 1)) and not alone:
        raise BadFrame("missing-packets", f"{len(set(numbers))} of {first.pnum}")
    return packets


def _body(packets: Sequence[Packet]) -> Json:
    """Return a message in the contract's shape."""
    first = packets[0]
    kind = KINDS.get(first.cn)
    if kind is None:
        raise BadFrame("unknown-command", f"CN {first.cn}")
    contents = [hj212.read_content(packet.content) for packet in packets]
    times = {content.values["DataTime"] for content in contents if "DataTime" in content.values}
    if len(times) != 1:
        raise BadFrame("bad-frame", "no DataTime" if not times else "several DataTimes")
    text = times.pop()
    at = hj212.parse_time(text)
    time = at.isoformat() if at is not None else text
    readings = [reading for content in contents for reading in _readings(content, kind, time)]
    body: dict[str, Json] = {"sensor": first.mn, "readings": readings}
    if any(packet.wants_answer for packet in packets):
        body["receipt"] = True
    sent_at = hj212.parse_time(first.qn)
    return body | ({"sent": sent_at.isoformat()} if sent_at is not None else {})


def _readings(content: Content, kind: str, time: str) -> list[Json]:
    """Return a content's readings; fields that hold no mean or real-time value (minimum, total) are passed over."""
    found = []
    for code, fields in content.factors.items():
        value = fields.get(VALUES[kind])
        if value is None and not fields.keys() - {"Flag", "EFlag", "SampleTime"}:
            continue
        reading = {"time": time, "factor": HJ212_FACTORS.get(code, code), "kind": kind, "value": _number(value)}
        found.append(reading | ({"flag": fields["Flag"]} if "Flag" in fields else {}))
    return found


def _number(text: str | None) -> Json:
    if text is None or text in MISSING:
        return None
    try:
        return float(text)
    except ValueError:
        return text
