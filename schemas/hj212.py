"""HJ 212: the frames of China's on-line monitoring of pollutants, editions 2005, 2017 and 2025. Pure.

A frame is `##`, the length of the data segment in four digits, the segment, a CRC in four hexadecimal digits, CR LF.
The segment is `QN=…;ST=…;CN=…;PW=…;MN=…;Flag=…;[PNUM=…;PNO=…;]CP=&&…&&`; a long content is split over packets with the
same QN, numbered PNO of PNUM. Flag holds the edition in its upper six bits, bit 1 says that packets are numbered, bit 0
that an answer is wanted. Times are Beijing time. Source: HJ 212-2017, chapter 6; the CRC and its vector: appendix A.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))
HEAD, TAIL = b"##", b"\r\n"
LENGTH_DIGITS = CRC_DIGITS = 4
SEGMENT_LIMIT_BYTES = 1024
"""Longest data segment that is written; a longer content is split."""
READ_LIMIT_BYTES = 9999
"""Longest data segment that is read: what four digits can say."""
FRAME_OVERHEAD_BYTES = len(HEAD) + LENGTH_DIGITS + CRC_DIGITS + len(TAIL)
PACKETS_LIMIT = 9999
ITEMS_LIMIT = 2_000
"""Most items in the content of one message."""
EDITIONS = {0: 2005, 1: 2017, 2: 2025}
PACKED, ANSWER = 0b10, 0b01

REALTIME, MINUTE, HOUR, DAY = 2011, 2051, 2061, 2031
"""Commands by which a station uploads data."""
SET_REALTIME_INTERVAL, SET_MINUTE_INTERVAL = 1062, 1064
REQUEST_ANSWER, EXECUTION_RESULT, NOTICE_ANSWER, DATA_ANSWER = 9011, 9012, 9013, 9014
SYSTEM_INTERACTION = 91
"""ST of answers."""
_NAME = re.compile(r"[A-Za-z]\w{0,31}")
_QN = re.compile(r"\d{17}")
_TIME = re.compile(r"\d{14}")


class BadFrame(ValueError):
    """Bytes that are no frame; `reason` is a code of `CODES["refusals"]`."""

    def __init__(self, reason: str, detail: str) -> None:
        """Say why not."""
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Packet:
    """One frame's data segment; `content` is what stands between the `&&`."""

    qn: str
    st: int
    cn: int
    password: str
    mn: str
    flag: int
    content: str
    pnum: int = 1
    pno: int = 1

    @property
    def edition(self) -> int:
        """The edition it is written in, as a year; a later one counts as the latest known."""
        return EDITIONS.get(self.flag >> 2, max(EDITIONS.values()))

    @property
    def wants_answer(self) -> bool:
        """Whether the sender waits for an answer."""
        return bool(self.flag & ANSWER)


@dataclass(frozen=True)
class Content:
    """What a content says: its own values (`DataTime`), and for each factor its fields (`Rtd`, `Avg`, `Flag`)."""

    values: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def crc(segment: bytes) -> int:
    """Return the check number of a data segment: the high byte of the register is shifted in, not the whole of it."""
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low, register = register & 1, register >> 1
            if low:
                register ^= 0xA001
    return register


def frame(segment: bytes) -> bytes:
    """Return the frame around a data segment.

    Raises:
        ValueError: the segment is too long.
    """
    if len(segment) > READ_LIMIT_BYTES:
        raise ValueError(f"a data segment of {len(segment)} bytes")
    return b"##%04d%s%04X\r\n" % (len(segment), segment, crc(segment))


def encode(packet: Packet) -> bytes:
    """Return the frame of one packet."""
    numbers = f"PNUM={packet.pnum};PNO={packet.pno};" if packet.flag & PACKED else ""
    text = f"QN={packet.qn};ST={packet.st};CN={packet.cn};PW={packet.password};MN={packet.mn};Flag={packet.flag};"
    return frame(f"{text}{numbers}CP=&&{packet.content}&&".encode("ascii"))


def split(packet: Packet, items: Sequence[str]) -> list[bytes]:
    """Return the frames of a message whose content is `items`; the first of them is repeated at the head of each.

    Raises:
        ValueError: one item does not fit into a packet.
    """
    first, rest = items[0], items[1:]
    room = SEGMENT_LIMIT_BYTES - len(encode(_part(packet, PACKETS_LIMIT, PACKETS_LIMIT, ""))) + FRAME_OVERHEAD_BYTES
    groups: list[list[str]] = [[first]]
    used = len(first)
    for item in rest:
        if used + 1 + len(item) > room:
            groups.append([first])
            used = len(first)
        if used + 1 + len(item) > room:
            raise ValueError("an item longer than a packet")
        groups[-1].append(item)
        used += 1 + len(item)
    if len(groups) == 1:
        return [encode(_part(packet, 1, 1, ";".join(items), packed=False))]
    return [encode(_part(packet, len(groups), number, ";".join(group))) for number, group in enumerate(groups, 1)]


def _part(packet: Packet, pnum: int, pno: int, content: str, *, packed: bool = True) -> Packet:
    flag = packet.flag | PACKED if packed else packet.flag & ~PACKED
    return Packet(packet.qn, packet.st, packet.cn, packet.password, packet.mn, flag, content, pnum, pno)


def frames_of(data: bytes) -> Iterator[bytes]:
    """Return the frames that some bytes consist of.

    Raises:
        BadFrame: there is something else among them, or the last is cut off.
    """
    position = 0
    while position < len(data):
        end = frame_end(data, position)
        if end is None:
            raise BadFrame("bad-frame", "cut off")
        yield data[position:end]
        position = end


def frame_end(data: bytes, start: int = 0) -> int | None:
    """Return where the frame that begins at `start` ends, or None while bytes are missing.

    Raises:
        BadFrame: no frame begins there.
    """
    head = data[start : start + len(HEAD) + LENGTH_DIGITS]
    if not HEAD.startswith(head[:2]) or not (head[2:].isdigit() or len(head) <= len(HEAD)):
        raise BadFrame("bad-frame", "does not begin with ## and a length")
    if len(head) < len(HEAD) + LENGTH_DIGITS:
        return None
    end = start + FRAME_OVERHEAD_BYTES + int(head[2:])
    if end > len(data):
        return None
    if data[end - len(TAIL) : end] != TAIL:
        raise BadFrame("bad-length", "the frame does not end where its length says")
    return end


def decode(data: bytes) -> Packet:
    """Return the packet of one whole frame.

    Raises:
        BadFrame: length, check number or form are wrong.
    """
    if frame_end(data) != len(data):
        raise BadFrame("bad-length", f"{len(data)} bytes")
    segment, sent = data[6:-6], data[-6:-2]
    wanted = b"%04X" % crc(segment)
    if sent.upper() != wanted:
        raise BadFrame("bad-crc", f"{sent.decode('latin-1')} instead of {wanted.decode()}")
    try:
        text = segment.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadFrame("bad-frame", "not ASCII") from error
    head, mark, content = text.partition("CP=&&")
    if not mark or not content.endswith("&&"):
        raise BadFrame("bad-frame", "no content")
    return _packet(_pairs(head.rstrip(";").split(";")), content[:-2])


def _packet(fields: Mapping[str, str], content: str) -> Packet:
    qn, mn, flag = fields.get("QN", ""), fields.get("MN", ""), _number(fields, "Flag", 0)
    if qn and not _QN.fullmatch(qn):
        raise BadFrame("bad-frame", "QN is no time of 17 digits")
    if not mn:
        raise BadFrame("bad-frame", "MN is missing")
    pnum = pno = 1
    if flag & PACKED:
        pnum, pno = _number(fields, "PNUM"), _number(fields, "PNO")
        if not 1 <= pno <= pnum <= PACKETS_LIMIT:
            raise BadFrame("bad-frame", f"packet {pno} of {pnum}")
    st, cn = _number(fields, "ST"), _number(fields, "CN")
    return Packet(qn, st, cn, fields.get("PW", ""), mn, flag, content, pnum, pno)


def _number(fields: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = fields.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit() or len(text) > 5:
        raise BadFrame("bad-frame", f"{name} is no number")
    return int(text)


def _pairs(parts: Iterable[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in parts:
        name, mark, value = part.partition("=")
        if not mark or not name or name in fields:
            raise BadFrame("bad-frame", "a field without a name or value, or twice")
        fields[name] = value
    return fields


def read_content(content: str) -> Content:
    """Return what a content says: items by `;`, fields of one factor by `,`, as `a21026-Rtd=1.1,a21026-Flag=N`.

    Raises:
        BadFrame: an item has another form, or says something twice.
    """
    values: dict[str, str] = {}
    factors: dict[str, dict[str, str]] = {}
    parts = [part for item in content.split(";") for part in item.split(",") if part]
    if len(parts) > ITEMS_LIMIT:
        raise BadFrame("bad-frame", f"{len(parts)} items, limit {ITEMS_LIMIT}")
    for part in parts:
        name, mark, value = part.partition("=")
        factor, dash, field_name = name.partition("-")
        if not mark or not _NAME.fullmatch(factor) or (dash and not _NAME.fullmatch(field_name)):
            raise BadFrame("bad-frame", "an item of another form")
        place, key = (factors.setdefault(factor, {}), field_name) if dash else (values, factor)
        if place.setdefault(key, value) is not value and place[key] != value:
            raise BadFrame("bad-frame", f"{name[:40]} twice")
    return Content(values, factors)


def parse_time(text: str) -> datetime | None:
    """Return the instant of `YYYYMMDDhhmmss` in Beijing time (a QN has milliseconds behind), or None."""
    if not (_TIME.fullmatch(text) or _QN.fullmatch(text)):
        return None
    try:
        at = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None
    return at + timedelta(milliseconds=int(text[14:] or 0))


def time_text(at: datetime) -> str:
    """Return an instant as `YYYYMMDDhhmmss` in Beijing time."""
    return f"{at.astimezone(BEIJING):%Y%m%d%H%M%S}"


def qn_text(at: datetime) -> str:
    """Return an instant as a QN."""
    return time_text(at) + f"{at.microsecond // 1000:03}"


def data_answer(packet: Packet) -> bytes:
    """Return the platform's answer 9014 to uploaded data; it carries the QN of what it answers."""
    flag = packet.flag & ~(PACKED | ANSWER)
    return encode(Packet(packet.qn, SYSTEM_INTERACTION, DATA_ANSWER, packet.password, packet.mn, flag, ""))
