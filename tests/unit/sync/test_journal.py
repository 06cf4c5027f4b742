"""The journal: a chain in which nothing can be edited, dropped, put in or moved unseen, and its signed segments."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sync.acts import PUT, ActError, ActParts, Header, encode, encode_act, encode_fields
from sync.dots import MAX_SEQUENCE
from sync.journal import (
    MAX_SEGMENT_ACTS,
    Break,
    Fork,
    SegmentHead,
    chain_breaks,
    parse_segment_head,
)
from tests.unit.sync.histories import JSON, journal

J, OTHER, BOOT = journal(1), journal(2), journal(3)
SALT = "AAAAAAAAAAAAAAAAAAAAAA"
LENGTH = 8
SIGNATURE = "A" * 86


def chain(length: int = LENGTH, *, name: str = J, word: str = "note") -> list[ActParts]:
    """A whole journal, every act with an open and a personal part."""
    acts: list[ActParts] = []
    for seq in range(1, length + 1):
        header = Header(
            journal=name, seq=seq, prev=acts[-1].hash() if acts else "", kind="inspection", record=journal(7), op=PUT,
            seen=frozenset(), schema=1, wall_ms=seq, mono_ms=seq, boot=BOOT, officer=journal(9), body="", personal=None,
        )  # fmt: skip
        body = encode_fields(SALT, {"notes": f"{word} {seq}"})
        acts.append(encode_act(header, body, encode_fields(SALT, {"contact": f"{seq}"})))
    return acts


WHOLE = chain()
HEAD = WHOLE[-1].hash()
PLACES = st.integers(1, LENGTH)


def breaks(acts: list[ActParts], **options: Any) -> list[Break]:  # noqa: ANN401 - keywords of chain_breaks
    """What does not hold, against the head the server has receipted."""
    known: dict[str, Any] = {"journal": J, "last": LENGTH, "head": HEAD}
    return chain_breaks(acts, json.loads, **known | options)


def edited(parts: ActParts, **changes: object) -> ActParts:
    """The act with members of its header changed."""
    return replace(parts, header=encode(json.loads(parts.header) | changes))


def test_a_whole_chain_holds() -> None:
    """Also without knowing its end, and the empty one."""
    assert breaks(WHOLE) == []
    assert chain_breaks(WHOLE, json.loads, journal=J) == []
    assert chain_breaks([], json.loads, journal=J) == []


@given(PLACES)
def test_a_run_from_the_middle_holds(first: int) -> None:
    """A pushed segment continues the act before it."""
    prev = WHOLE[first - 2].hash() if first > 1 else ""
    assert breaks(WHOLE[first - 1 :], first=first, prev=prev) == []


def test_a_run_that_continues_another_act_is_found() -> None:
    """The first act is named when it does not follow what came before."""
    assert breaks(WHOLE[2:], first=3, prev="f" * 64) == [Break(3, "does not name the hash of the act before the run")]


@given(PLACES, st.sampled_from(["wall_ms", "mono_ms", "schema"]), st.integers(100, 10_000))
def test_an_edited_header_is_named(place: int, name: str, value: int) -> None:
    """Changing any act changes its hash, which its successor or the head names."""
    acts = [*WHOLE]
    acts[place - 1] = edited(acts[place - 1], **{name: value})
    by = "its successor" if place < LENGTH else "the head"
    assert breaks(acts) == [Break(place, f"is not the act that {by} names")]


@given(PLACES)
def test_an_edited_link_is_named(place: int) -> None:
    """An act whose predecessor was exchanged is no longer the act its successor names."""
    acts = [*WHOLE]
    acts[place - 1] = edited(acts[place - 1], prev="f" * 64)
    assert place in {found.seq for found in breaks(acts)}


@given(PLACES, st.sampled_from(["body", "personal"]))
def test_an_edited_part_is_named(place: int, part: str) -> None:
    """The header commits to both parts."""
    acts = [*WHOLE]
    acts[place - 1] = replace(acts[place - 1], **{part: encode_fields(SALT, {"notes": "forged"})})
    assert breaks(acts) == [Break(place, f"{part}: does not match its commitment")]


@given(PLACES, st.sampled_from([b"", b"{}", b"[]", b"not json", b"\xff"]))
def test_a_ruined_header_is_named(place: int, header: bytes) -> None:
    """Bytes that are no header are reported like any other change."""
    acts = [*WHOLE]
    acts[place - 1] = replace(acts[place - 1], header=header)
    assert {found.seq for found in breaks(acts)} == {place}


@given(PLACES)
def test_a_dropped_act_is_named(place: int) -> None:
    """Numbers are dense, so a hole shows; the end shows by the head's number."""
    acts = WHOLE[: place - 1] + WHOLE[place:]
    assert breaks(acts) == [Break(place, "is missing")]


@given(PLACES, PLACES)
def test_a_dropped_run_is_named(start: int, end: int) -> None:
    """A longer hole is one break."""
    start, end = min(start, end), max(start, end)
    acts = WHOLE[: start - 1] + WHOLE[end:]
    reason = "is missing" if start == end else f"is missing, and all up to {end}"
    assert breaks(acts) == [Break(start, reason)]


@given(PLACES)
def test_an_inserted_act_is_named(place: int) -> None:
    """A forged act takes a number that the true one also has."""
    forged = chain(place, word="forged")[-1]
    acts = [*WHOLE[: place - 1], forged, *WHOLE[place - 1 :]]
    assert place in {found.seq for found in breaks(acts)}


@given(PLACES)
def test_an_inserted_act_whose_followers_were_renumbered_is_named(place: int) -> None:
    """Making room for it changes all later acts, and the head gives them away."""
    longer = [*WHOLE[: place - 1], *chain(LENGTH, word="forged")[place - 1 :]]
    for at in range(place, LENGTH):
        longer[at] = edited(longer[at], prev=longer[at - 1].hash())
    found = breaks(longer)
    assert found
    assert min(each.seq for each in found) >= place - 1


@given(PLACES)
def test_an_act_of_another_journal_is_named(place: int) -> None:
    """Acts cannot be carried over from another device."""
    acts = [*WHOLE]
    acts[place - 1] = chain(LENGTH, name=OTHER)[place - 1]
    found = breaks(acts)
    assert found[0] == Break(place, "journal: belongs to another journal")
    assert {each.seq for each in found} == {place}


@given(st.integers(1, LENGTH - 1))
def test_swapped_acts_are_named(place: int) -> None:
    """The one that was overtaken is missing first, and then out of place."""
    acts = [*WHOLE]
    acts[place - 1], acts[place] = acts[place], acts[place - 1]
    assert breaks(acts) == [Break(place, "is missing"), Break(place, "occurs again, or after later ones")]


@given(PLACES)
def test_a_repeated_act_is_named(place: int) -> None:
    """Every number stands once."""
    acts = [*WHOLE[:place], WHOLE[place - 1], *WHOLE[place:]]
    assert breaks(acts) == [Break(place, "occurs again, or after later ones")]


@given(st.permutations(range(LENGTH)), st.sets(PLACES), st.sets(PLACES))
def test_no_mixture_of_faults_goes_unseen(order: list[int], dropped: set[int], changed: set[int]) -> None:
    """Whatever is done to the acts: a run without breaks is the journal that was written."""
    acts = [
        edited(WHOLE[at], wall_ms=99_999) if at + 1 in changed else WHOLE[at] for at in order if at + 1 not in dropped
    ]
    assert (breaks(acts) == []) == (acts == WHOLE)


def test_without_a_head_a_cut_end_goes_unseen() -> None:
    """Why the receipted head matters: a chain alone cannot say that it is complete."""
    assert chain_breaks(WHOLE[:-1], json.loads, journal=J) == []
    assert breaks(WHOLE[:-1]) == [Break(LENGTH, "is missing")]
    assert breaks(WHOLE[:-1], last=None) == [Break(LENGTH - 1, "is not the act that the head names")]


@given(st.sets(PLACES))
def test_erasing_personal_parts_breaks_nothing(places: set[int]) -> None:
    """Personal bytes and salts are destroyed; chain, head and signature stand as before."""
    erased = [replace(parts, personal=b"") if seq in places else parts for seq, parts in enumerate(WHOLE, 1)]
    assert breaks(erased) == []
    assert erased[-1].hash() == HEAD


def segment(**changes: Any) -> SegmentHead:  # noqa: ANN401 - members of a head
    """The head of a segment of the whole journal."""
    head = SegmentHead(J, 1, LENGTH, HEAD, BOOT, 1_750_000_000_000, 77, None, SIGNATURE)
    return replace(head, **changes)


def test_the_statement_of_a_segment() -> None:
    """Exact bytes: domain, then the values in order, one a line; the parent's line is empty without one."""
    lines = ["fieldproof-segment-v1", J, "", "1", "8", HEAD, BOOT, "1750000000000", "77"]
    assert segment().statement() == "\n".join(lines).encode()
    lines[2] = f"{OTHER}:5:{'a' * 64}"
    assert segment(parent=Fork(OTHER, 5, "a" * 64)).statement() == "\n".join(lines).encode()


@pytest.mark.parametrize("parent", [None, Fork(OTHER, 5, "a" * 64)])
def test_a_segment_head_round_trip(parent: Fork | None) -> None:
    """The line reads back as the same head."""
    line = segment(parent=parent).line()
    assert line.endswith(b"\n")
    assert parse_segment_head(json.loads(line)) == segment(parent=parent)


@given(st.sampled_from(["first", "last", "head", "boot", "wall_ms", "mono_ms", "journal", "parent"]))
def test_a_signature_covers_every_value_of_the_head(name: str) -> None:
    """Changing any of them makes the signature fail."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = key.sign(segment().statement())
    key.public_key().verify(signature, segment().statement())
    other: dict[str, object] = {
        "first": 2, "last": 9, "head": "0" * 64, "boot": OTHER, "wall_ms": 1, "mono_ms": 1, "journal": OTHER,
        "parent": Fork(OTHER, 1, "a" * 64),
    }  # fmt: skip
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, segment(**{name: other[name]}).statement())


def head_members(**changes: object) -> dict[str, Any]:
    """The decoded members of a valid segment head, some of them changed."""
    valid: dict[str, Any] = json.loads(segment().line())
    return valid | changes


FORK = {"journal": OTHER, "seq": 5, "hash": "a" * 64}
WRONG: dict[str, list[tuple[object, str]]] = {
    "v": [(2, "v"), (True, "v"), (1.0, "v"), ("1", "v")],
    "journal": [("", "journal"), (None, "journal")],
    "boot": [("x", "boot"), (1, "boot")],
    "first": [(0, "first"), (LENGTH + 1, "first"), (True, "first"), (1.0, "first"), (-1, "first"), (None, "first")],
    "last": [(MAX_SEGMENT_ACTS + 1, "last"), (MAX_SEQUENCE + 1, "last"), ("8", "last")],
    "wall_ms": [(-1, "wall_ms"), (1.5, "wall_ms")],
    "mono_ms": [(None, "mono_ms"), (False, "mono_ms")],
    "head": [("", "head"), ("a" * 63, "head"), ("A" * 64, "head"), ("a\nb", "head"), (None, "head"), ([], "head")],
    "signature": [
        ("", "signature"), ("A" * 85, "signature"), ("A" * 85 + "=", "signature"), ("A" * 86 + "\n", "signature"),
        (None, "signature"), ({}, "signature"),
    ],
    "parent": [
        ("", "parent"), ([], "parent"), ({}, "parent"), (FORK | {"more": 1}, "parent"),
        (FORK | {"journal": "x"}, "parent"), (FORK | {"hash": "a"}, "parent.hash"),
        (FORK | {"hash": None}, "parent.hash"), (FORK | {"seq": 0}, "parent.seq"), (FORK | {"seq": True}, "parent.seq"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "field"), [(name, value, field) for name, cases in WRONG.items() for value, field in cases]
)
def test_wrong_members_of_a_segment_head(name: str, value: object, field: str) -> None:
    """The refusal names the member."""
    with pytest.raises(ActError) as caught:
        parse_segment_head(head_members(**{name: value}))
    assert caught.value.field == field


@pytest.mark.parametrize("value", [None, [], "x", {}, head_members(more=1)])
def test_what_is_no_segment_head(value: object) -> None:
    """Exactly the known members."""
    with pytest.raises(ActError, match="^segment: "):
        parse_segment_head(value)


def test_a_segment_of_the_greatest_length_is_taken() -> None:
    """The limit itself is inside."""
    assert parse_segment_head(head_members(last=MAX_SEGMENT_ACTS)).last == MAX_SEGMENT_ACTS


@st.composite
def nearly_heads(draw: st.DrawFn) -> object:
    """A valid head with some members replaced by any JSON value."""
    value = head_members()
    for name in draw(st.lists(st.sampled_from(sorted(value)), max_size=3, unique=True)):
        value[name] = draw(JSON | st.fixed_dictionaries(dict.fromkeys(FORK, JSON)))
    return value


@given(JSON | nearly_heads())
def test_parsing_any_segment_head_raises_nothing_but_act_error(value: object) -> None:
    """Bad input is a refusal, never a crash; what is taken can be signed unambiguously."""
    with suppress(ActError):
        assert parse_segment_head(value).statement().count(b"\n") == 8


@given(st.randoms(use_true_random=False))
def test_reasons_are_words(randomness: random.Random) -> None:
    """Every break can be shown to a person as it is."""
    acts = [*WHOLE]
    randomness.shuffle(acts)
    assert all(found.reason and found.reason[0].islower() for found in breaks(acts))
