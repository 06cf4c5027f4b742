"""Flags: what differs is named with its figures, what agrees or cannot be compared stays quiet."""

from datetime import UTC, datetime, timedelta

import pytest

from server.evidence.facts import BOMB, DECODED, NOT_A_PICTURE, UNDECODABLE, UNKNOWN_TYPE, Exif, MediaFacts
from server.evidence.facts import facts_from_json as from_json
from server.evidence.flags import Claims, Place, compare, distance_m

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
WUHAN = Place(30.5928, 114.3055, "WGS-84")


def picture(**exif: object) -> MediaFacts:
    """A decoded JPEG with some EXIF."""
    return MediaFacts(DECODED, "image/jpeg", exif=Exif(**exif))  # type: ignore[arg-type]  # shorthand for tests


def codes(facts: MediaFacts, claims: Claims) -> list[str]:
    """The codes of the flags."""
    return [flag.code for flag in compare(facts, claims)]


def test_agreement_raises_no_flag() -> None:
    """Same time, same place, same type."""
    facts = picture(taken_at="2026-03-01T10:05:00", utc_offset="+08:00", lat=30.5929, lon=114.3056, datum="WGS-84  ")
    assert compare(facts, Claims("image/jpeg", AT, WUHAN)) == []


def test_time_difference_has_its_minutes() -> None:
    """The flag says how far apart, and whether the zone was assumed."""
    flags = compare(picture(taken_at="2026-03-01T12:30:00"), Claims(captured_at=AT))
    assert [flag.as_json() for flag in flags] == [
        {
            "code": "time-differs",
            "minutes": 150,
            "exif_at": "2026-03-01T12:30:00+08:00",
            "captured_at": "2026-03-01T02:00:00+00:00",
            "zone_assumed": True,
        }
    ]


def test_time_zone_of_the_picture_counts() -> None:
    """The same wall time in another zone is another instant."""
    claims = Claims(captured_at=AT)
    assert codes(picture(taken_at="2026-03-01T10:00:00", utc_offset="+08:00"), claims) == []
    assert codes(picture(taken_at="2026-03-01T10:00:00", utc_offset="-05:00"), claims) == ["time-differs"]


@pytest.mark.parametrize(("minutes", "flagged"), [(10, False), (11, True), (-11, True)])
def test_time_tolerance(minutes: int, flagged: bool) -> None:
    """Ten minutes are tolerated in either direction."""
    facts = picture(taken_at=(AT + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat(), utc_offset="+00:00")
    assert bool(codes(facts, Claims(captured_at=AT))) is flagged


@pytest.mark.parametrize("taken", ["2026-13-01T00:00:00", "2026-02-30T00:00:00", "0000-00-00T00:00:00"])
def test_impossible_time_is_not_compared(taken: str) -> None:
    """Cameras write nonsense; it is no instant."""
    assert compare(picture(taken_at=taken), Claims(captured_at=AT)) == []


def test_position_difference_has_its_metres() -> None:
    """The flag says how far apart."""
    (flag,) = compare(picture(lat=30.6028, lon=114.3055), Claims(place=WUHAN))
    assert flag.code == "position-differs"
    assert flag.detail["metres"] == pytest.approx(1112, abs=2)


def test_gcj02_offset_is_flagged() -> None:
    """Some 590 m, the offset of GCJ-02 in Wuhan, is beyond the tolerance."""
    assert codes(picture(lat=30.5905, lon=114.3110), Claims(place=WUHAN)) == ["position-differs"]


def test_other_datum_is_never_compared_silently() -> None:
    """A datum that is no earth-centred one is named, on either side."""
    assert codes(picture(lat=1.0, lon=1.0), Claims(place=Place(1.0, 1.0, "GCJ-02"))) == ["position-not-comparable"]
    assert codes(picture(lat=1.0, lon=1.0, datum="TOKYO"), Claims(place=WUHAN)) == ["position-not-comparable"]


def test_nothing_to_compare_is_no_flag() -> None:
    """Without EXIF or without a claim there is no discrepancy."""
    assert compare(picture(), Claims("image/jpeg", AT, WUHAN)) == []
    assert compare(picture(taken_at="2000-01-01T00:00:00", lat=0.0, lon=0.0), Claims()) == []


@pytest.mark.parametrize("outcome", [UNDECODABLE, BOMB, NOT_A_PICTURE])
def test_outcome_becomes_a_flag(outcome: str) -> None:
    """What did not decode is flagged with the reason."""
    (flag,) = compare(MediaFacts(outcome, "image/png", "because"), Claims("image/png"))
    assert flag.as_json() == {"code": outcome, "found": "image/png", "reason": "because"}


def test_type_difference_is_flagged() -> None:
    """A PDF that was declared as a photo shows both."""
    facts = MediaFacts(NOT_A_PICTURE, "application/pdf")
    assert codes(facts, Claims("image/jpeg")) == ["not-a-picture", "type-differs"]


@pytest.mark.parametrize(("declared", "found"), [("video/mp4", "video/mp4"), ("audio/wav", "audio/x-wav")])
def test_recordings_and_documents_that_say_so_raise_no_flag(declared: str, found: str) -> None:
    """They are no pictures and do not claim to be; pictures of a kind that is not opened are told."""
    assert codes(MediaFacts(NOT_A_PICTURE, found), Claims(declared)) == []
    assert codes(MediaFacts(NOT_A_PICTURE, found), Claims()) == ["not-a-picture"]
    assert codes(MediaFacts(NOT_A_PICTURE, "image/gif"), Claims("image/gif")) == ["not-a-picture"]


def test_unknown_type_of_a_crash_is_no_difference() -> None:
    """When the examination broke off, nothing is known about the type."""
    assert codes(MediaFacts(UNDECODABLE, UNKNOWN_TYPE), Claims("image/jpeg")) == ["undecodable"]


def test_heic_and_heif_are_one_type() -> None:
    """Telephones declare either name."""
    assert compare(MediaFacts(DECODED, "image/heif"), Claims("image/heic")) == []


def test_distance_of_known_cities() -> None:
    """Wuhan to Yichang is some 290 km; antipodes are half the circumference."""
    assert distance_m(30.5928, 114.3055, 30.6919, 111.2865) == pytest.approx(289_000, rel=0.01)
    assert distance_m(0, 0, 0, 180) == pytest.approx(20_015_115, rel=0.001)


def test_facts_survive_their_json_form() -> None:
    """Facts are stored as JSON and come back equal."""
    facts = picture(taken_at="2026-03-01T10:05:00", lat=1.5, lon=2.5, orientation=6)
    assert from_json(facts.as_json()) == facts


def test_far_from_the_entity() -> None:
    """Both what the picture and what the record says are held against the register, each with its metres."""
    claims = Claims(place=Place(30.6, 114.3, "CGCS2000"), entity_place=Place(30.5928, 114.3, "WGS-84"))
    flags = [flag.as_json() for flag in compare(picture(lat=30.5, lon=114.3), claims)]
    assert [(flag["source"], flag["metres"]) for flag in flags if flag["code"] == "far-from-entity"] == [
        ("picture", 10_319),
        ("record", 801),
    ]
    near = Claims(place=Place(30.5928, 114.3, "GCJ-02"), entity_place=Place(30.5928, 114.3, "WGS-84"))
    assert compare(picture(), near) == []


@pytest.mark.parametrize(
    ("exif", "edited"),
    [
        ({"software": "Adobe Photoshop 27.0"}, True),
        ({"software": "美图秀秀"}, True),
        ({"software": "HDR+ 1.0.5"}, False),
        ({"taken_at": "2026-03-01T10:00:00", "modified_at": "2026-03-01T11:00:00"}, True),
        ({"taken_at": "2026-03-01T10:00:00", "modified_at": "2026-03-01T09:00:00"}, False),
    ],
)
def test_hints_of_editing(exif: dict[str, str], edited: bool) -> None:
    """An editor's name, or a change after capture."""
    assert ["edited" in flag.code for flag in compare(picture(**exif), Claims())] == [True] * edited


@pytest.mark.parametrize(
    ("declared", "found", "differs"),
    [
        ("audio/wav", "audio/wave", False),
        ("audio/x-m4a", "audio/mp4", False),
        ("audio/ogg", "application/ogg", False),
        ("audio/amr", UNKNOWN_TYPE, False),
        ("image/heic", UNKNOWN_TYPE, True),
        ("video/mp4", "application/pdf", True),
    ],
)
def test_types_go_by_several_names(declared: str, found: str, differs: bool) -> None:
    """A recording is not suspicious because its type has two names, or because nobody knows its format."""
    codes = [flag.code for flag in compare(MediaFacts(NOT_A_PICTURE, found), Claims(declared))]
    assert ("type-differs" in codes) == differs
