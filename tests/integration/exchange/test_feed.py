"""The central pull over HTTP, and its agreement with what is stored."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete

from schemas.exchange import BATCH_LEAVES, MAX_PAGE_LINES, FeedDigestSchema, FeedLineSchema, PageHeadSchema
from server.behaviors.models import Behavior
from server.behaviors.service import correct_behavior
from server.exchange.batches import BatchNumbers
from server.prooflog.models import Head
from server.prooflog.service import MAX_PROOFS, enqueue, sequence_step
from server.records.models import ServerState
from server.runtime import Runtime
from sync.digest import digest_of
from sync.merkle import leaf_hash, verify_inclusion
from tests.conftest import FakeClock, SignIn
from tests.integration.exchange.behaviors import DEPARTMENT, WUHAN, XIANGYANG, add_behavior, sample_content

BEHAVIORS = "/api/v1/central/behaviors"
DIGEST = "/api/v1/central/digest"
Page = tuple[dict[str, Any], list[dict[str, Any]]]


def write(rt: Runtime, count: int, region: str = WUHAN, department: str = DEPARTMENT) -> list[str]:
    """Write behaviors, and a leaf of another kind after each."""
    made = []
    with rt.db.write() as session:
        for _ in range(count):
            made.append(add_behavior(session, rt, region, department))
            enqueue(session, rt, "evidence", made[-1], b"{}")
    return made


def sequence(rt: Runtime) -> None:
    """Run the sequencer once."""
    with rt.db.write() as session:
        sequence_step(session, rt)


def pull(client: FlaskClient, headers: dict[str, str], **query: str | int) -> Page:
    """One page, read by the schemas of the protocol."""
    response = client.get(BEHAVIORS, query_string=query, headers=headers)
    assert response.status_code == 200, response.get_json()
    assert response.mimetype == "application/x-ndjson"
    assert response.data.endswith(b"\n")
    first, *rest = response.data.splitlines()
    return PageHeadSchema().loads(first.decode()), [FeedLineSchema().loads(line.decode()) for line in rest]


def test_only_the_central_system_may_pull(client: FlaskClient, sign_in: SignIn) -> None:
    """Everybody else is refused."""
    for path in (BEHAVIORS, DIGEST):
        assert client.get(path).status_code == 401
        for role in ("admin", "operator", "auditor", "officer"):
            assert client.get(path, headers=sign_in(role)).status_code == 403
        assert client.get(path, headers=sign_in("central")).status_code == 200


def test_an_empty_platform(client: FlaskClient, sign_in: SignIn) -> None:
    """Before the first head there is a cursor, no head and nothing to deliver."""
    head, lines = pull(client, sign_in("central"))
    assert (head["position"], head["more"], head["waiting"], head["head"], lines) == (0, False, 0, None, [])
    digest = client.get(DIGEST, headers=sign_in("central")).get_json()
    assert digest == {"through": 0, "count": 0, "digest": digest_of([]).hex()}


def test_lines_are_what_is_stored_and_proved(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """Each line has the exact leaf and content, its exchange columns, and a proof under the page's head."""
    made = write(rt, 3)
    sequence(rt)
    page, lines = pull(client, sign_in("central"), proofs="true")
    assert [line["id"] for line in lines] == made
    with rt.db.read() as session:
        rows = {row.id: row for row in session.query(Behavior)}
        for line in lines:
            row = rows[line["id"]]
            assert (line["leaf"].encode(), line["content"].encode()) == (row.leaf, row.line)
    for number, line in enumerate(lines):
        assert json.loads(line["leaf"])["content"] == hashlib.sha256(line["content"].encode()).hexdigest()
        assert (line["leaf_index"], line["position"]) == (2 * number, 2 * number + 1)
        assert (line["operation"], line["version"], line["batch"]) == ("i", 1, "2026030200001")
        assert (line["region"], line["department"]) == (WUHAN, DEPARTMENT)
        assert line["at_ms"] == rt.now_ms()
        path = [bytes.fromhex(step) for step in line["proof"]]
        root = bytes.fromhex(page["head"]["root"])
        assert verify_inclusion(leaf_hash(line["leaf"].encode()), line["leaf_index"], page["head"]["size"], path, root)
    assert all("proof" not in line for line in pull(client, sign_in("central"))[1])


def test_pages_follow_one_another_without_gap(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """Small pages give everything once, in order, and the last cursor goes on with what comes later."""
    headers = sign_in("central")
    made = write(rt, 7)
    sequence(rt)
    seen, cursor, pages = [], "", []
    for _ in range(4):
        page, lines = pull(client, headers, cursor=cursor, limit=2)
        seen += [line["id"] for line in lines]
        pages.append((len(lines), page["more"], page["position"]))
        cursor = page["cursor"]
    assert seen == made
    assert pages == [(2, True, 3), (2, True, 7), (2, True, 11), (1, False, 14)]
    assert pull(client, headers, cursor=cursor)[1] == []
    later = write(rt, 1)
    assert pull(client, headers, cursor=cursor)[1] == []
    sequence(rt)
    assert [line["id"] for line in pull(client, headers, cursor=cursor)[1]] == later


def test_what_is_not_signed_yet_waits(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """Written behaviors are counted as waiting until the sequencer has signed over them."""
    headers = sign_in("central")
    write(rt, 2)
    page, lines = pull(client, headers)
    assert (page["waiting"], lines) == (2, [])
    sequence(rt)
    page, lines = pull(client, headers)
    assert (page["waiting"], len(lines)) == (0, 2)


def test_a_correction_is_an_update(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """The corrected version comes later in the feed, as operation u, and names the leaf before it."""
    (first,) = write(rt, 1)
    with rt.db.write() as session:
        assert correct_behavior(session, rt, first, sample_content(rt.now()) | {"result": "02"}) == 2
    sequence(rt)
    _, (one, two) = pull(client, sign_in("central"))
    assert (one["operation"], one["version"], two["operation"], two["version"]) == ("i", 1, "u", 2)
    assert json.loads(two["leaf"])["previous"] == leaf_hash(one["leaf"].encode()).hex()
    assert json.loads(one["leaf"])["previous"] is None


def test_digest_is_that_of_what_was_delivered(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """At every position the server's digest is the one a reader computes from the lines it has."""
    headers = sign_in("central")
    write(rt, 4)
    sequence(rt)
    _, lines = pull(client, headers)
    for through in range(9):
        held = [line for line in lines if line["position"] <= through]
        expected = digest_of((f"{line['id']}:{line['version']}", leaf_hash(line["leaf"].encode())) for line in held)
        answer = FeedDigestSchema().load(client.get(f"{DIGEST}?through={through}", headers=headers).get_json())
        assert answer == {"through": through, "count": len(held), "digest": expected.hex()}
    assert client.get(DIGEST, headers=headers).get_json()["through"] == 8


def test_scope_limits_feed_and_digest(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """A city's or a department's account sees its own behaviors, in the feed and in the digest alike."""
    write(rt, 2, WUHAN)
    write(rt, 3, XIANGYANG)
    write(rt, 1, XIANGYANG, "另一部门")
    sequence(rt)
    for region, department, count in (("42", "", 6), ("4206", "", 4), ("4206", DEPARTMENT, 3), ("4299", "", 0)):
        headers = sign_in("central", region=region, department=department)
        page, lines = pull(client, headers, proofs="true")
        assert len(lines) == count
        digest = client.get(f"{DIGEST}?through={page['position']}", headers=headers).get_json()
        pairs = [(f"{line['id']}:1", leaf_hash(line["leaf"].encode())) for line in lines]
        assert (digest["count"], digest["digest"]) == (count, digest_of(pairs).hex())


def test_stale_and_foreign_cursors(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """Cursors of another epoch, scope or server, changed ones, and ones beyond the log are gone: 410."""
    write(rt, 2)
    sequence(rt)
    headers = sign_in("central")
    cursor = pull(client, headers)[0]["cursor"]

    def refused(text: str, by: dict[str, str] = headers) -> None:
        response = client.get(BEHAVIORS, query_string={"cursor": text}, headers=by)
        assert response.status_code == 410
        assert (response.get_json()["code"], response.get_json()["field"]) == ("stale-cursor", "cursor")

    refused("rubbish")
    refused(cursor[:-1] + ("A" if cursor[-1] != "A" else "B"))
    refused(cursor, sign_in("central", region="4201"))
    with rt.db.write() as session:
        session.execute(delete(Head))
    refused(cursor)
    with rt.db.write() as session:
        state = session.get(ServerState, 1)
        assert state is not None
        state.epoch = rt.new_id()
    refused(cursor)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{BEHAVIORS}?limit=0", "limit"),
        (f"{BEHAVIORS}?limit={MAX_PAGE_LINES + 1}", "limit"),
        (f"{BEHAVIORS}?cursor={'x' * 5_000}", "cursor"),
        (f"{BEHAVIORS}?since=1", "since"),
        (f"{DIGEST}?through=1", "through"),
        (f"{DIGEST}?through=-1", "through"),
        (f"{DIGEST}?through=999999999999999999999999", "through"),
    ],
)
def test_bad_questions(client: FlaskClient, sign_in: SignIn, path: str, field: str) -> None:
    """What cannot be asked is refused naming the field."""
    response = client.get(path, headers=sign_in("central"))
    assert (response.status_code, response.get_json()["field"]) == (422, field)


def test_a_lost_behavior_is_not_left_out_in_silence(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """A leaf whose behavior is gone stops the feed: leaving it out would be a loss nobody sees."""
    write(rt, 2)
    sequence(rt)
    with rt.db.write() as session:
        session.execute(delete(Behavior))
    response = client.get(BEHAVIORS, headers=sign_in("central"))
    assert (response.status_code, response.get_json()["code"]) == (500, "internal")


def test_batches_count_leaves_of_a_day_in_china(rt: Runtime, clock: FakeClock) -> None:
    """A new batch begins after so many leaves, and with each day at midnight in China."""
    clock.instant = datetime(2026, 3, 2, 15, 59, tzinfo=UTC)
    heads = [
        (10, timedelta()), (BATCH_LEAVES + 1, timedelta(seconds=30)), (BATCH_LEAVES + 5, timedelta(minutes=1)),
        (BATCH_LEAVES + 9, timedelta(days=2)),
    ]  # fmt: skip
    with rt.db.write() as session:
        for size, later in heads:
            at_ms = round((clock.instant + later).timestamp() * 1000)
            session.add(Head(size=size, root=b"", at_ms=at_ms, key_id="", signature=b"", verifier=""))
        session.flush()
        indexes = [0, 9, BATCH_LEAVES - 1, BATCH_LEAVES, BATCH_LEAVES + 1, BATCH_LEAVES + 4, BATCH_LEAVES + 5]
        numbers = BatchNumbers(session, indexes)
        assert [numbers.of(index) for index in indexes] == [
            "2026030200001", "2026030200001", "2026030200001", "2026030200002",
            "2026030300001", "2026030300001", "2026030400001",
        ]  # fmt: skip


def test_a_page_can_be_proved_at_once() -> None:
    """The largest page needs no more proofs than are made in one call."""
    assert MAX_PAGE_LINES <= MAX_PROOFS
