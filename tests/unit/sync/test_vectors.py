"""The language-neutral vectors of docs/protocol.md: whoever writes another handheld runs the same files."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.kinds import KINDS
from sync.acts import ActError, check_commitments, commitment, encode_act, parse_fields, parse_header, split_line
from sync.clocks import Basis, Reading, correct, error_ms, parse_exchange, reading_of, stamp
from sync.digest import digest_of
from sync.dots import Dot, parse_dot
from sync.journal import chain_breaks, parse_segment_head
from sync.merge import merge, status_of
from sync.policies import Policies, Policy, Rule, canonical, conflicts, is_deleted, read_record
from sync.registers import Change, RecordState
from sync.signing import signed_digest
from sync.statements import (
    JournalHead,
    enrol_statement,
    key_statement,
    share_statement,
    sign_in_statement,
    wiped_statement,
)
from tests.make_vectors import MADE
from tests.project_tree import ROOT

FOLDER = ROOT / "tests" / "vectors"
MOST_ORDERS = 120


def vectors(name: str) -> Any:  # noqa: ANN401 - JSON
    """Read a file of vectors."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


ACTS = vectors("acts.json")["acts"]
REFUSED = vectors("refused.json")
CHAIN = vectors("chain.json")
SIGNED = vectors("signatures.json")
MERGE = vectors("merge.json")
DIGESTS = vectors("digests.json")
CLOCKS = vectors("clocks.json")


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def named(cases: list[dict[str, Any]]) -> list[Any]:
    """Cases as parameters, by name."""
    return [pytest.param(case, id=case["name"]) for case in cases]


def test_every_file_is_used() -> None:
    """No file of vectors lies there unread."""
    used = {f"{name}.json" for name in ("acts", "refused", "chain", "signatures", "merge", "digests", "clocks")}
    assert {path.name for path in FOLDER.iterdir()} == used | MADE.keys()


@pytest.mark.parametrize("case", named(ACTS))
def test_act_bytes(case: dict[str, Any]) -> None:
    """Line, parts, commitments and hash, from the bytes as they stand."""
    parts = split_line(case["line"].encode())
    assert [part.decode() for part in (parts.header, parts.body, parts.personal)] == [
        case["header"],
        case["body"],
        case["personal"],
    ]
    assert parts.line() == case["line"].encode()
    assert parts.hash() == case["act"]
    header = parse_header(json.loads(parts.header))
    assert (header.body, header.personal) == (case["body_commitment"], case["personal_commitment"])
    assert commitment(parts.body) == case["body_commitment"]
    check_commitments(header, parts)
    assert parse_fields("body", json.loads(parts.body)) == case["fields"]
    if parts.personal:
        assert parse_fields("personal", json.loads(parts.personal)) == case["personal_fields"]


@pytest.mark.parametrize("case", named(ACTS))
def test_our_own_encoder_writes_these_bytes(case: dict[str, Any]) -> None:
    """Header bytes from members; the order of members is ours, other writers may use another."""
    header = parse_header(json.loads(case["header"]))
    assert encode_act(header, case["body"].encode(), case["personal"].encode()).line().decode() == case["line"]


@pytest.mark.parametrize("case", named(ACTS))
def test_sample_acts_are_acceptable(case: dict[str, Any]) -> None:
    """The vectors are acts that a server takes: their fields are those of the kind."""
    fields = {**case["fields"], **case["personal_fields"]}
    assert KINDS[json.loads(case["header"])["kind"]].schema(partial=True).validate(fields) == {}


@pytest.mark.parametrize("case", named(REFUSED["headers"]))
def test_refused_headers(case: dict[str, Any]) -> None:
    """The member is named."""
    with pytest.raises(ActError) as caught:
        parse_header(json.loads(case["header"]))
    assert caught.value.field == case["member"]


@pytest.mark.parametrize("case", named(REFUSED["bodies"]))
def test_refused_bodies(case: dict[str, Any]) -> None:
    """The member is named."""
    with pytest.raises(ActError) as caught:
        parse_fields("body", json.loads(case["body"]))
    assert caught.value.field == case["member"]


@pytest.mark.parametrize("text", REFUSED["dots"]["good"])
def test_good_dots(text: str) -> None:
    """They read back as written."""
    assert str(parse_dot(text)) == text


@pytest.mark.parametrize("text", REFUSED["dots"]["bad"])
def test_bad_dots(text: str) -> None:
    """One spelling only."""
    with pytest.raises(ValueError, match="dot"):
        parse_dot(text)


def found_in(lines: list[str]) -> list[int]:
    """Numbers of the acts that a check of a run names."""
    acts = [split_line(line.encode()) for line in lines]
    breaks = chain_breaks(acts, json.loads, journal=CHAIN["journal"], last=CHAIN["last"], head=CHAIN["head"])
    return sorted({each.seq for each in breaks})


@pytest.mark.parametrize("case", named(CHAIN["whole"]))
def test_whole_chains(case: dict[str, Any]) -> None:
    """Lawful erasure leaves a chain whole."""
    assert found_in(case["lines"]) == []


@pytest.mark.parametrize("case", named(CHAIN["broken"]))
def test_broken_chains(case: dict[str, Any]) -> None:
    """Every fault names the act."""
    assert found_in(case["lines"]) == case["named"]


@pytest.mark.parametrize("case", named(SIGNED["segments"]))
def test_segments(case: dict[str, Any]) -> None:
    """Head line, statement and signature; the chain behind it ends in the head."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SIGNED["seed_hex"]))
    head = parse_segment_head(json.loads(case["head_line"]))
    assert head.statement() == case["statement"].encode()
    assert base64url(key.sign(head.statement())) == head.signature == case["signature"]
    first_line, *lines = case["push_body"].encode().splitlines(keepends=True)
    assert head.line() == first_line == case["head_line"].encode()
    acts = [split_line(line) for line in lines]
    prev = json.loads(acts[0].header)["prev"]
    assert (
        chain_breaks(
            acts, json.loads, journal=head.journal, first=head.first, prev=prev, last=head.last, head=head.head
        )
        == []
    )


def test_sign_in_and_enrolment() -> None:
    """Both statements and their signatures."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SIGNED["seed_hex"]))
    assert base64url(key.public_key().public_bytes_raw()) == SIGNED["public_key"]
    case = SIGNED["sign_in"]
    statement = sign_in_statement(case["device"], case["at_ms"], case["nonce"])
    assert (statement.decode(), base64url(key.sign(statement))) == (case["statement"], case["signature"])
    case = SIGNED["enrolment"]
    statement = enrol_statement(case["public_key"], case["officer"])
    assert (statement.decode(), base64url(key.sign(statement))) == (case["statement"], case["signature"])


@pytest.mark.parametrize("case", named(SIGNED["key_changes"]))
def test_key_changes(case: dict[str, Any]) -> None:
    """Both keys sign one statement, the heads in order of journal."""
    old, new = (
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SIGNED[name])) for name in ("seed_hex", "new_seed_hex")
    )
    assert base64url(new.public_key().public_bytes_raw()) == SIGNED["new_public_key"]
    heads = [JournalHead(**head) for head in case["heads"]]
    statement = key_statement(case["device"], SIGNED["public_key"], SIGNED["new_public_key"], heads)
    assert statement.decode() == case["statement"]
    assert (base64url(old.sign(statement)), base64url(new.sign(statement))) == (case["signature"], case["proof"])


def test_sharing_and_wiping() -> None:
    """Both statements and their signatures."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SIGNED["seed_hex"]))
    case = SIGNED["share"]
    statement = share_statement(case["device"], case["officer"])
    assert (statement.decode(), base64url(key.sign(statement))) == (case["statement"], case["signature"])
    case = SIGNED["wiped"]
    statement = wiped_statement(case["device"], case["ordered_at_ms"], case["acts_lost"], case["files_lost"])
    assert (statement.decode(), base64url(key.sign(statement))) == (case["statement"], case["signature"])


@pytest.mark.parametrize("case", named(CLOCKS["cases"]))
def test_clocks(case: dict[str, Any]) -> None:
    """Basis, corrected time and error bound."""
    exchange = parse_exchange(case["exchange"]) if case["exchange"] else None
    act, now_ms = case["act"], case["now_ms"]
    correction = correct(Reading(**case["head"]), now_ms, act["boot"], exchange)
    at_ms = stamp(correction, act, now_ms)
    error = error_ms(correction, act, at_ms, earliest_ms=case["enrolled_ms"], arrived_ms=now_ms)
    basis = correction.basis if reading_of(correction, act) is not None else Basis.NONE
    assert (str(basis), at_ms, error) == (case["basis"], case["at_ms"], case["error_ms"])


def change_of(act: dict[str, Any]) -> Change:
    """An act of the merge vectors."""
    seen = frozenset(map(parse_dot, act["seen"]))
    return Change(parse_dot(act["dot"]), seen, act["at_ms"], act["fields"], act["delete"])


POLICIES: Policies = {
    name: Policy(Rule(policy["rule"]), tuple(policy.get("order", ()))) for name, policy in MERGE["policies"].items()
}


def causal(order: tuple[Change, ...]) -> bool:
    """Whether each act comes after those it had seen."""
    done: set[Dot] = set()
    for act in order:
        if not act.seen <= done:
            return False
        done.add(act.dot)
    return True


@pytest.mark.parametrize("case", named(MERGE["cases"]))
def test_merging(case: dict[str, Any]) -> None:
    """Every causal order gives the same live values, readings, conflicts and deletion."""
    acts = [change_of(act) for act in case["acts"]]
    orders = [order for order in permutations(acts) if causal(order)]
    assert 0 < len(orders) <= MOST_ORDERS
    for order in orders:
        state = RecordState()
        for act in order:
            state = merge(state, act, POLICIES).state
        live = {name: [str(entry.dot) for entry in values] for name, values in state.live_fields().items()}
        assert live == case["live"]
        readings = {name: canonical(reading.value) for name, reading in read_record(state, POLICIES).items()}
        assert readings == {name: canonical(value) for name, value in case["read"].items()}
        assert list(conflicts(state, POLICIES)) == case["conflicts"]
        assert is_deleted(state) == case["deleted"]


@pytest.mark.parametrize("case", named(MERGE["cases"]))
def test_statuses(case: dict[str, Any]) -> None:
    """They belong to the set of acts, not to an order."""
    acts = {act.dot: act for act in map(change_of, case["acts"])}
    assert {str(dot): str(status_of(dot, acts, POLICIES)) for dot in acts} == case["status"]


@pytest.mark.parametrize("case", DIGESTS["sets"], ids=lambda case: str(len(case["pairs"])))
def test_set_digests(case: dict[str, Any]) -> None:
    """In either order."""
    pairs = [(identifier, bytes.fromhex(digest)) for identifier, digest in case["pairs"]]
    assert digest_of(pairs).hex() == digest_of(reversed(pairs)).hex() == case["digest"]


@pytest.mark.parametrize("case", DIGESTS["signed"], ids=lambda case: str(len(case["pairs"])))
def test_signed_digests(case: dict[str, Any]) -> None:
    """What an officer signs."""
    assert signed_digest((name, parse_dot(dot)) for name, dot in case["pairs"]) == case["digest"]


def test_the_vectors_are_what_they_say() -> None:
    """The hash of an act written out once more, from the words of the protocol alone."""
    for case in ACTS:
        assert hashlib.sha256(b"fieldproof-act-v1\n" + case["header"].encode()).hexdigest() == case["act"]
