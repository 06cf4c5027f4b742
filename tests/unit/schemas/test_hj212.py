"""HJ 212: the check number's official vector, frames, editions, split messages, contents, and the answer."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import hj212
from schemas.hj212 import BadFrame, Packet

VECTOR = b"QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;CP=&&RtdInterval=30&&"
PACKET = Packet("20260302090000123", 32, 2011, "123456", "010000A8900016F000169DC0", 9, "DataTime=20260302090000")


def test_the_official_vector() -> None:
    """HJ 212-2017, appendix A: 101 bytes, 1C80."""
    assert (len(VECTOR), f"{hj212.crc(VECTOR):04X}") == (101, "1C80")
    packet = hj212.decode(b"##0101" + VECTOR + b"1C80\r\n")
    assert (packet.qn, packet.st, packet.cn, packet.mn) == ("20160801085857223", 32, 1062, "010000A8900016F000169DC0")
    assert (packet.edition, packet.wants_answer, packet.content) == (2017, True, "RtdInterval=30")
    assert hj212.encode(packet) == b"##0101" + VECTOR + b"1C80\r\n"


@pytest.mark.parametrize(
    ("flag", "edition"), [(0, 2005), (1, 2005), (4, 2017), (7, 2017), (8, 2025), (9, 2025), (12, 2025)]
)
def test_editions(flag: int, edition: int) -> None:
    """The upper six bits; one that is not known yet counts as the newest."""
    assert Packet("", 22, 2011, "", "m", flag, "").edition == edition


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad-length"),
        (b"#", "bad-length"),
        (b"hello", "bad-frame"),
        (b"##01x1", "bad-frame"),
        (b"##0101" + VECTOR + b"1C81\r\n", "bad-crc"),
        (b"##0101" + VECTOR + b"zz\xff0\r\n", "bad-crc"),
        (b"##0100" + VECTOR + b"1C80\r\n", "bad-length"),
        (b"##0102" + VECTOR + b"1C80\r\n", "bad-length"),
        (b"##9999" + VECTOR + b"1C80\r\n", "bad-length"),
        (hj212.frame(b"QN=1;MN=m;CP=&&&&"), "bad-frame"),
        (hj212.frame(b"ST=1;CN=2;CP=&&&&"), "bad-frame"),
        (hj212.frame(b"ST=1;CN=2;MN=m;CP=&&"), "bad-frame"),
        (hj212.frame(b"ST=1;CN=2;MN=m"), "bad-frame"),
        (hj212.frame(b"ST=1;ST=1;CN=2;MN=m;CP=&&&&"), "bad-frame"),
        (hj212.frame(b"ST=x;CN=2;MN=m;CP=&&&&"), "bad-frame"),
        (hj212.frame(b"ST=1;CN=2;MN=m;Flag=2;PNUM=2;PNO=3;CP=&&&&"), "bad-frame"),
        (hj212.frame(b"ST=1;CN=2;MN=m;Flag=2;CP=&&&&"), "bad-frame"),
        (hj212.frame("ST=1;CN=2;MN=站;CP=&&&&".encode()), "bad-frame"),
    ],
)
def test_what_is_no_frame(data: bytes, reason: str) -> None:
    """Wrong length, check number or form are told apart."""
    with pytest.raises(BadFrame) as caught:
        hj212.decode(data)
    assert caught.value.reason == reason


def test_a_long_message_is_split_and_each_part_names_the_time() -> None:
    """No segment is longer than the standard allows, parts are numbered, and together they say all."""
    items = ["DataTime=20260302090000", *(f"a{number:05}-Rtd={number}.5,a{number:05}-Flag=N" for number in range(100))]
    frames = hj212.split(PACKET, items)
    packets = [hj212.decode(frame) for frame in frames]
    assert len(frames) > 1
    assert max(len(frame) - hj212.FRAME_OVERHEAD_BYTES for frame in frames) <= hj212.SEGMENT_LIMIT_BYTES
    assert [(packet.pno, packet.pnum) for packet in packets] == [(n, len(frames)) for n in range(1, len(frames) + 1)]
    assert all(packet.content.startswith("DataTime=20260302090000") for packet in packets)
    said = [item for packet in packets for item in packet.content.split(";")[1:]]
    assert said == items[1:]
    with pytest.raises(ValueError, match="longer than a packet"):
        hj212.split(PACKET, [items[0], "a" * 1_000])


def test_a_short_message_is_one_frame() -> None:
    """Without packet numbers."""
    (frame,) = hj212.split(PACKET, ["DataTime=20260302090000", "a21026-Rtd=1"])
    assert b"PNUM" not in frame
    assert hj212.decode(frame).content == "DataTime=20260302090000;a21026-Rtd=1"


def test_frames_are_found_in_a_stream() -> None:
    """One behind the other; what is missing yet is waited for, what is no frame is refused."""
    data = hj212.encode(PACKET)
    assert list(hj212.frames_of(data + data)) == [data, data]
    assert [hj212.frame_end(data[:length]) for length in (0, 1, 2, 5, 20, len(data) - 1)] == [None] * 6
    with pytest.raises(BadFrame):
        list(hj212.frames_of(data + b"##00"))
    with pytest.raises(BadFrame):
        hj212.frame_end(b"x")


def test_contents() -> None:
    """Own values, and the fields of each factor; saying something twice differently is refused."""
    content = hj212.read_content("DataTime=20260302090000;a21026-Rtd=1.1,a21026-Flag=N;w01018-Avg=2;")
    assert content.values == {"DataTime": "20260302090000"}
    assert content.factors == {"a21026": {"Rtd": "1.1", "Flag": "N"}, "w01018": {"Avg": "2"}}
    for bad in ("a21026-Rtd=1;a21026-Rtd=2", "x", "a b=1", "a21026-=1", ";".join(f"a{n}=1" for n in range(2_001))):
        with pytest.raises(BadFrame):
            hj212.read_content(bad)


def test_times_are_beijing_times() -> None:
    """With seconds, or as a QN with milliseconds."""
    at = datetime(2026, 3, 2, 1, 0, 0, 123_000, tzinfo=UTC)
    assert hj212.parse_time("20260302090000123") == at
    assert hj212.parse_time(hj212.time_text(at)) == at.replace(microsecond=0)
    assert hj212.qn_text(at) == "20260302090000123"
    assert [hj212.parse_time(text) for text in ("2026", "20261302090000", "x" * 14)] == [None] * 3


def test_the_answer_names_what_it_answers() -> None:
    """9014 with the same QN, no content, no wish for an answer."""
    answer = hj212.decode(hj212.data_answer(PACKET))
    assert (answer.qn, answer.cn, answer.st, answer.mn) == (PACKET.qn, 9014, 91, PACKET.mn)
    assert (answer.wants_answer, answer.content, answer.edition) == (False, "", 2025)


@given(st.binary(max_size=200))
def test_a_frame_comes_back_as_it_went(segment: bytes) -> None:
    """Any segment's frame ends where it should; a changed byte is noticed by length or check number."""
    data = hj212.frame(segment)
    assert hj212.frame_end(data) == len(data)
    if segment:
        changed = data[:6] + bytes([data[6] ^ 1]) + data[7:]
        with pytest.raises(BadFrame, match=r"bad-crc"):
            hj212.decode(changed)
