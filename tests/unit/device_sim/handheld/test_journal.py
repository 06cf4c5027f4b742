"""Writing acts, checking chains, and writing acts again after a fork."""

import json

import pytest

from device_sim.handheld.client import Handheld, NotEnrolled
from device_sim.handheld.forms import state_of_record
from device_sim.handheld.journal import ActRefused
from schemas.kinds.field_work import UNSIGNED_FIELDS
from sync.acts import MAX_SEEN, check_commitments, parse_header
from sync.dots import Dot, parse_dot
from sync.journal import Fork
from sync.registers import Live
from sync.signing import covered, is_stale, signed_digest
from tests.unit.device_sim.handheld.conftest import (
    INSPECTION,
    OFFICE_EPOCH,
    OFFICER_ID,
    OpenHandheld,
    an_id,
    keep,
    served,
)


def write(handheld: Handheld, **fields: object) -> Dot:
    """Write an act on the inspection as it is open now."""
    dot = handheld.write(handheld.open("inspection", INSPECTION), fields)
    assert dot is not None
    return dot


def headers(handheld: Handheld) -> list[dict[str, object]]:
    """Headers of all acts, in order."""
    return [json.loads(act.parts.header) for one in handheld.store.journals() for act in handheld.store.acts(one)]


def test_acts_chain_and_commit_to_their_parts(handheld: Handheld) -> None:
    """Numbers are dense, each act names its predecessor's hash, and the chain verifies."""
    for text in ("one", "two", "three"):
        write(handheld, scene=text)
    acts = handheld.store.acts(handheld.store.journals()[0])
    parsed = [parse_header(json.loads(act.parts.header)) for act in acts]
    assert [header.seq for header in parsed] == [1, 2, 3]
    assert [header.prev for header in parsed] == ["", acts[0].hash, acts[1].hash]
    for header, act in zip(parsed, acts, strict=True):
        check_commitments(header, act.parts)
    assert handheld.verify() == []


def test_only_what_differs_is_written(handheld: Handheld) -> None:
    """Unchanged fields stay out of the act, and a form without changes writes none."""
    write(handheld, scene="a", method="01")
    form = handheld.open("inspection", INSPECTION)
    assert handheld.write(form, {"scene": "a", "method": "01"}) is None
    handheld.write(form, {"scene": "a", "method": "02"})
    last = handheld.store.acts(handheld.store.journals()[0])[-1]
    assert json.loads(last.parts.body)["fields"] == {"method": "02"}


def test_personal_fields_stand_in_their_own_part(handheld: Handheld) -> None:
    """What the party said is kept apart, under a salt of its own."""
    write(handheld, scene="room", statement="said", contact="number")
    parts = handheld.store.acts(handheld.store.journals()[0])[0].parts
    body, personal = json.loads(parts.body), json.loads(parts.personal)
    assert body["fields"] == {"scene": "room"}
    assert personal["fields"] == {"statement": "said", "contact": "number"}
    assert body["salt"] != personal["salt"]


@pytest.mark.parametrize(
    ("kind", "fields", "named"),
    [
        ("entity", {"name": "x"}, "kind"),
        ("nonsense", {"name": "x"}, "kind"),
        ("inspection", {"nonsense": 1}, "nonsense"),
        ("inspection", {"form": "77"}, "form"),
        ("inspection", {"position": {"lat": 1.0, "lon": 2.0}}, "position"),
        ("inspection", {"scene": "x" * 4001}, "scene"),
        ("inspection", {"signatures": {"add": "x"}}, "signatures"),
    ],
)
def test_the_handheld_refuses_what_the_platform_would(
    handheld: Handheld, kind: str, fields: dict[str, object], named: str
) -> None:
    """Wrong kinds, fields and values are refused when writing, with the field named; nothing is stored."""
    form = handheld.open("inspection", an_id(99))
    wrong = type(form)(kind, form.record, form.seen, form.readings, form.state) if kind != "inspection" else form
    with pytest.raises((ActRefused, KeyError)) as refusal:
        handheld.write(wrong, fields)
    if isinstance(refusal.value, ActRefused):
        assert refusal.value.field == named
    assert handheld.store.pending_count() == 0


def test_limits_of_the_protocol_are_enforced_when_writing(handheld: Handheld) -> None:
    """A form that has seen more dots than an act may name is refused."""
    form = handheld.open("inspection", INSPECTION)
    many = frozenset(Dot(OFFICE_EPOCH, n) for n in range(1, MAX_SEEN + 2))
    with pytest.raises(ActRefused, match="seen"):
        handheld.write(type(form)(form.kind, form.record, many, form.readings, form.state), {"scene": "x"})


def test_a_deletion_carries_no_fields_and_has_seen_everything(handheld: Handheld) -> None:
    """Deleting names all live dots; the record then reads as gone."""
    handheld.delete(handheld.open("inspection", INSPECTION))
    (header,) = headers(handheld)
    assert header["op"] == "delete"
    assert header["seen"] == [f"{OFFICE_EPOCH}:5"]
    assert handheld.open("inspection", INSPECTION).deleted


def test_without_enrolment_nothing_is_written(open_handheld: OpenHandheld) -> None:
    """A handheld that belongs to nobody takes no acts and does not sync."""
    fresh = open_handheld("fresh", enrolled=False)
    with pytest.raises(NotEnrolled):
        fresh.write(fresh.open("inspection", INSPECTION), {"scene": "x"})
    with pytest.raises(NotEnrolled):
        fresh.pull()


@pytest.mark.parametrize("column", ["header", "body", "personal", "hash"])
def test_tampering_is_found_and_named(handheld: Handheld, column: str) -> None:
    """Any changed byte of any stored part shows in the verification, with the act's number."""
    for text in ("one", "two", "three"):
        write(handheld, scene=text, statement=text)
    handheld.store.db.execute("DROP TRIGGER acts_keep_bytes")
    change = {"header": "replace(header, 'put', 'del')", "hash": "'00'"}.get(column, f"replace({column}, 'two', 'TWO')")
    cast = change if column == "hash" else f"CAST({change} AS BLOB)"
    handheld.store.db.execute(f"UPDATE acts SET {column} = {cast} WHERE seq = 2")
    assert 2 in {found.seq for found in handheld.verify()}


def test_a_removed_act_is_found(handheld: Handheld) -> None:
    """A gap in the numbers breaks the chain."""
    for text in ("one", "two", "three"):
        write(handheld, scene=text)
    handheld.store.db.execute("DROP TRIGGER acts_keep_rows")
    handheld.store.db.execute("DELETE FROM acts WHERE seq = 2")
    assert [found.seq for found in handheld.verify()][:1] == [2]


def test_rejournalling_keeps_contents_and_translates_dots(handheld: Handheld) -> None:
    """After a fork, the divergent acts stand in a new journal with its parent named; what they saw follows."""
    for text in ("one", "two", "three"):
        write(handheld, scene=text)
    old = handheld.store.journals()[0]
    acts = handheld.store.acts(old)
    fresh = handheld.writer.rejournal(old, 1)
    again = handheld.store.acts(fresh)
    assert handheld.store.parent_of(fresh) == Fork(old, 1, acts[0].hash)
    assert [act.parts.body for act in again] == [act.parts.body for act in acts[1:]]
    seen = [parse_header(json.loads(act.parts.header)).seen for act in again]
    assert Dot(old, 1) in seen[0]
    assert Dot(fresh, 1) in seen[1]
    assert handheld.store.acts(old) == acts, "the old bytes stay as history"
    assert handheld.store.unconfirmed_acts(old, 9) == acts[:1]
    assert handheld.open("inspection", INSPECTION).value("scene") == "three"
    assert handheld.verify() == []
    assert sum(handheld.store.act_counts().values()) == 3


def test_a_fork_before_the_first_act_has_no_parent(handheld: Handheld) -> None:
    """When nothing is common, the new journal stands alone."""
    write(handheld, scene="one")
    fresh = handheld.writer.rejournal(handheld.store.journals()[0], 0)
    assert handheld.store.parent_of(fresh) is None
    assert len(handheld.store.acts(fresh)) == 1


def test_signatures_survive_a_fork(handheld: Handheld) -> None:
    """A signature over rewritten acts names their new dots and still covers what it covered."""
    write(handheld, notes="unsigned")
    write(handheld, scene="signed")
    state = handheld.open("inspection", INSPECTION).state
    pairs = covered(state, UNSIGNED_FIELDS)
    dots = sorted({str(dot) for _, dot in pairs})
    signature = {"officer": OFFICER_ID, "role": "lead", "dots": dots, "digest": signed_digest(pairs)}
    write(handheld, signatures={"add": [signature], "remove": []})
    handheld.writer.rejournal(handheld.store.journals()[0], 0)
    state = state_of_record(handheld.store, "inspection", INSPECTION)
    ((renamed,),) = (live.value for live in state.live("signatures"))
    assert renamed["dots"] != dots
    named = [parse_dot(dot) for dot in renamed["dots"]]
    assert not is_stale(state, named, renamed["digest"], UNSIGNED_FIELDS)


def test_a_stale_signature_stays_stale_after_a_fork(handheld: Handheld) -> None:
    """A digest that no longer held is not made to hold."""
    dot = write(handheld, scene="signed")
    signature = {"officer": OFFICER_ID, "role": "lead", "dots": [str(dot)], "digest": "0" * 64}
    write(handheld, signatures={"add": [signature]})
    handheld.writer.rejournal(handheld.store.journals()[0], 0)
    live: tuple[Live, ...] = handheld.open("inspection", INSPECTION).state.live("signatures")
    assert live[0].value[0]["digest"] == "0" * 64


def test_acts_on_several_records_share_one_journal(handheld: Handheld) -> None:
    """The journal is the device's, not the record's."""
    keep(handheld, served("task", an_id(50), 6, status="assigned"))
    write(handheld, scene="x")
    handheld.write(handheld.open("task", an_id(50)), {"status": "signed_for"})
    assert [header["kind"] for header in headers(handheld)] == ["inspection", "task"]
    assert len({header["journal"] for header in headers(handheld)}) == 1
