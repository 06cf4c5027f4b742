"""The register of entities: entering, finding, changing, grading, merging, importing; on SQLite and on PostgreSQL."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.config import load_settings
from server.db.engine import Database
from server.entities import importing, merging, service
from server.entities.models import Entity
from server.entities.search import find_by_name
from server.errors import Problem
from server.province import generate
from server.records.lines import Placement, decode_state
from server.records.models import Act, SyncedRecord
from server.records.service import OfficeChange, get_view, office_write_many, start_epoch
from server.registers.search import fold
from server.registers.tables import CSV, read_rows
from server.runtime import Runtime
from server.tables import METADATA
from server.web.principal import Principal
from tests.conftest import FakeClock, SignIn
from tests.field_device import body

ROWS = next(generate.entities(60, 3))
CALLER = Principal("op", "operator", "42", "")


def enter(session: Session, rt: Runtime) -> list[Entity]:
    """Enter the sample's entities."""
    service.add_entities(session, rt, [Entity(**row) for row in ROWS], author="op")
    return [service.get_entity(session, row["id"]) for row in ROWS]


@pytest.fixture
def postgres(tmp_path: Path, clock: FakeClock, postgres_database_url: str) -> Iterator[Runtime]:
    """A runtime on a PostgreSQL database of its own."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path), "FIELDPROOF_DATABASE_URL": postgres_database_url})
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    made = Runtime(settings, database, clock, random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, made)
    yield made
    database.dispose()


def finds_what_a_scan_finds(session: Session, rt: Runtime) -> None:
    """For fragments of all names, in every place, the index and a scan agree; pages join up; a new name is found."""
    made = enter(session, rt)
    fragments = {one.name[start : start + size] for one in made[:12] for size in (2, 3, 5) for start in (2, 4)}
    for fragment in (*fragments, "没有", "样例"):
        for region in ("42", made[0].region[:6]):
            wanted = {o.id for o in made if fold(fragment) in fold(o.name) and o.region.startswith(region)}
            found = [entity.id for _, entity in find_by_name(session, fragment, region=region, limit=100)]
            assert set(found) == wanted, fragment
            assert len(found) == len(wanted)
    pages, after = [], 0
    while page := find_by_name(session, "样例", after=after, limit=7):
        pages += [entity.id for _, entity in page]
        after = page[-1][0]
    assert sorted(pages) == sorted(one.id for one in made)
    old = made[0].name
    service.change_entity(session, rt, made[0], {"name": "样例改名后的店"}, author="op", reason="更名")
    assert find_by_name(session, old) == []
    assert [entity.id for _, entity in find_by_name(session, "改名")] == [made[0].id]


def test_search_on_sqlite(session: Session, rt: Runtime) -> None:
    """FTS5 over pairs of characters."""
    finds_what_a_scan_finds(session, rt)


def test_search_on_postgresql(postgres: Runtime) -> None:
    """A GIN index over the same pairs."""
    with postgres.db.write() as session:
        finds_what_a_scan_finds(session, postgres)


def test_bulk_publishing_writes_what_an_office_act_writes(session: Session, rt: Runtime) -> None:
    """A record published in bulk reads, is placed and has an act as one written alone."""
    entity = enter(session, rt)[0]
    fields = get_view(session, "entity", entity.id)
    assert fields is not None
    office_write_many(session, rt, [OfficeChange("entity", rt.new_id(), fields, "op", Placement(entity.region, ""))])
    rows = session.execute(select(SyncedRecord).order_by(SyncedRecord.position)).scalars().all()
    bulk, alone = rows[0], rows[-1]
    assert [row.position for row in rows] == list(range(1, len(ROWS) + 2))
    for name in ("region", "department", "assigned", "parent", "deleted", "conflict_fields"):
        assert getattr(bulk, name) == getattr(alone, name)
    values = [{n: v[0].value for n, v in decode_state(row.line).live_fields().items()} for row in (bulk, alone)]
    assert values[0] == values[1] == fields
    acts = {act.record: act for act in session.execute(select(Act)).scalars()}
    assert json.loads(acts[bulk.id].body)["fields"] == json.loads(acts[alone.id].body)["fields"]
    headers = [json.loads(acts[row.id].header) for row in (bulk, alone)]
    same = headers[0].keys() - {"seq", "record", "body"}
    assert {name: headers[0][name] for name in same} == {name: headers[1][name] for name in same}
    assert (acts[bulk.id].status, acts[bulk.id].status_position) == ("applied", bulk.position)


def test_changes_are_audited_field_by_field(session: Session, rt: Runtime) -> None:
    """Old and new value and the reason stand in the trail, handhelds get the change, and nothing changed is nothing."""
    entity = enter(session, rt)[0]
    before = entity.registered_address
    assert service.change_entity(session, rt, entity, {"registered_address": "新址"}, author="op", reason="迁址")
    assert not service.change_entity(session, rt, entity, {"registered_address": "新址"}, author="op", reason="迁址")
    session.flush()
    event = session.execute(select(AuditEvent).where(AuditEvent.action == "entity.change")).scalar_one()
    assert event.detail == {"reason": "迁址", "fields": {"registered_address": [before, "新址"]}}
    view = get_view(session, "entity", entity.id)
    assert view is not None
    assert view["registered_address"] == "新址"


def test_merging_keeps_both_histories(session: Session, rt: Runtime) -> None:
    """The duplicate leads to the one that stays, is found no more, cannot be changed, and its grades count there."""
    keeper, loser, third = enter(session, rt)[:3]
    service.grade_entity(session, rt, loser, "risk", "D", author="op", reason="事故")
    service.grade_entity(session, rt, keeper, "credit", "A", author="op", reason="守信")
    merging.merge_entity(session, rt, third, loser, author="op", reason="重复")
    merging.merge_entity(session, rt, loser, keeper, author="op", reason="重复")
    session.flush()
    session.expire_all()
    assert (loser.status, loser.merged_into, third.merged_into) == ("merged", keeper.id, keeper.id)
    assert merging.survivor(session, third).id == keeper.id
    assert {(g.entity, g.kind, g.grade) for g in merging.grades_of(session, keeper)} == {
        (loser.id, "risk", "D"), (keeper.id, "credit", "A"),
    }  # fmt: skip
    assert find_by_name(session, loser.name) == []
    assert [one.id for one in service.find_entities(session, CALLER, service.EntityQuestion(q=loser.uscc))[0]] == [
        loser.id
    ]
    view = get_view(session, "entity", loser.id)
    assert view is not None
    assert view["status"] == "closed"
    with pytest.raises(Problem, match="merged"):
        service.change_entity(session, rt, loser, {"name": "x"}, author="op", reason="x")
    with pytest.raises(Problem, match="different"):
        merging.merge_entity(session, rt, keeper, keeper, author="op", reason="x")


def test_rows_are_written_by_place() -> None:
    """Windows over several parts, each in order, in chunks of one transaction; nothing is left out."""
    rng = random.Random(3)
    numbers = [rng.randrange(10**6) for _ in range(2 * importing.WINDOW_ROWS + 7)]
    parts = [numbers[start : start + 20_000] for start in range(0, len(numbers), 20_000)]
    chunks = list(importing.by_place(iter(parts), key=lambda n: (str(n % 9), f"{n:07d}")))
    assert sorted(n for chunk in chunks for n in chunk) == sorted(numbers)
    assert {len(chunk) for chunk in chunks[:-1]} == {importing.CHUNK_ROWS}
    window = [n for chunk in chunks[:12] for n in chunk]
    assert window == sorted(numbers[: len(window)], key=lambda n: (n % 9, n))
    assert list(importing.by_place(iter([[1], [], [2]]), key=lambda n: ("", str(n)))) == [[1, 2]]
    assert list(importing.by_place(iter([]), key=lambda n: ("", str(n)))) == []


def csv_of(rows: list[dict[str, object]]) -> bytes:
    """Rows as a CSV file with a byte-order mark, as spreadsheets write it."""
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("uscc", "91420106FX0000000X", "uscc"), ("region", "110101", "region"), ("datum", "GCJ-02", "datum"),
        ("datum", "", "datum"), ("lat", "91", "lat"), ("lon", "east", "lon"), ("lat", "nan", "lat"),
        ("name", "", "name"), ("name", "长" * 201, "name"), ("sector", "mining", "sector"),
        ("risk", "E", "risk"), ("nature", "9", "nature"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_one_by_one(session: Session, rt: Runtime, name: str, value: str, reason: str) -> None:
    """A wrong value names its row and field and leaves the other rows alone."""
    rows = [dict(row) for row in ROWS[:3]]
    for row in rows:
        row.pop("id")
    rows[1][name] = value
    with rt_session(session) as write:
        report = importing.import_entities(
            rt, write, read_rows(io.BytesIO(csv_of(rows)), CSV, importing.COLUMNS), author="op"
        )
    assert (report.rows, report.entered, report.refused) == (3, 2, 1)
    assert [(refusal.row, refusal.field) for refusal in report.refusals] == [(2, reason)]


class rt_session:  # noqa: N801 - reads as the function it stands for
    """Hands out the test's own session for each chunk."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> importing.WriteSession:
        return lambda: _Given(self.session)

    def __exit__(self, *_: object) -> None:
        """Nothing to end: the session is the test's."""


class _Given:
    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> Session:
        return self.session

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


def test_importing_over_http(client: FlaskClient, sign_in: SignIn) -> None:
    """CSV and JSON lines; again changes nothing; a changed row changes; twice in one file and broken lines are told."""
    headers = sign_in("operator")
    rows = [{name: value for name, value in row.items() if name != "id"} for row in ROWS[:5]]
    address = "/api/v1/entities/import"

    def post(data: bytes, media_type: str) -> dict[str, object]:
        return body(client.post(address, data=data, content_type=media_type, headers=headers))

    first = post(csv_of(rows), "text/csv")
    assert (first["entered"], first["refused"]) == (5, 0)
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert post(lines, "application/x-ndjson")["unchanged"] == 5
    rows[0]["name"] = "样例改名"
    again = post(lines.splitlines()[0] + b"\n{\n[]\n" + json.dumps(rows[0]).encode(), "application/x-ndjson")
    assert (again["unchanged"], again["refused"], again["by_field"]) == (1, 3, {"row": 2, "uscc": 1})
    assert post(json.dumps(rows[0]).encode(), "application/x-ndjson")["changed"] == 1
    assert client.post(address, data=b"x", content_type="text/plain", headers=headers).status_code == 415
    assert client.post(address, data=b"name\nx\n", content_type="text/csv", headers=headers).status_code == 422
    assert client.post(address, data=b"\xff\xfe,\n", content_type="text/csv", headers=headers).status_code == 400


def test_scope_over_http(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """An operator of a county finds and reads that county's entities only, and imports nothing into another."""
    with rt.db.write() as session:
        made = enter(session, rt)
    county = made[0].region[:6]
    headers = sign_in("operator", region=county)
    mine = {one.id for one in made if one.region.startswith(county)}
    other = next(one for one in made if one.id not in mine)
    found = body(client.get("/api/v1/entities?q=样例&limit=500", headers=headers))
    assert {one["id"] for one in found["entities"]} == mine
    assert client.get(f"/api/v1/entities/{other.id}", headers=headers).status_code == 404
    assert client.get(f"/api/v1/entities?region={other.region}", headers=headers).status_code == 404
    assert body(client.get(f"/api/v1/entities?q={other.uscc}", headers=headers))["entities"] == []
    row = {name: value for name, value in ROWS[-1].items() if name != "id"} | {"region": other.region}
    reply = client.post(
        "/api/v1/entities/import", data=json.dumps(row), content_type="application/x-ndjson", headers=headers
    )
    assert body(reply)["by_field"] == {"region": 1}


def test_work_over_http(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """Changing, grading and merging answer with the entity; wrong grades and short fragments are refused by name."""
    with rt.db.write() as session:
        made = enter(session, rt)
    headers, base = sign_in("operator"), "/api/v1/entities"
    one = f"{base}/{made[0].id}"
    renamed = body(client.patch(one, json={"name": "样例新名", "reason": "更名", "revision": 1}, headers=headers))
    assert (renamed["name"], renamed["revision"]) == ("样例新名", 2)
    stale = client.patch(one, json={"sector": "drugs", "reason": "旧页面", "revision": 1}, headers=headers)
    assert (stale.status_code, body(stale)["field"], body(stale)["revision"]) == (409, "revision", 2)
    assert body(client.get(one, headers=headers))["sector"] != "drugs", "nothing is lost to an old page"
    unsaid = client.patch(one, json={"sector": "drugs", "reason": "x"}, headers=headers)
    assert (unsaid.status_code, body(unsaid)["field"]) == (422, "revision")
    graded = client.post(f"{one}/grades", json={"kind": "risk", "grade": "D", "reason": "x"}, headers=headers)
    assert (graded.status_code, body(graded)["risk"]) == (201, "D")
    wrong = client.post(f"{one}/grades", json={"kind": "risk", "grade": "Z", "reason": "x"}, headers=headers)
    assert (wrong.status_code, body(wrong)["field"]) == (422, "grade")
    assert [g["grade"] for g in body(client.get(f"{one}/grades", headers=headers))["grades"]] == ["D"]
    merged = client.post(f"{base}/{made[1].id}/merge", json={"into": made[0].id, "reason": "重复"}, headers=headers)
    assert body(merged)["merged_into"] == made[0].id
    assert body(client.get(f"{base}?q=样", headers=headers))["field"] == "q"
    assert body(client.get(f"{base}?q=样例&after=x", headers=headers))["field"] == "after"
    assert body(client.get(f"{base}?sector=none", headers=headers))["field"] == "sector"
    page = body(client.get(f"{base}?risk=D&limit=500", headers=headers))
    assert {entity["risk"] for entity in page["entities"]} == {"D"}
    seen, after = [], ""
    while True:
        page = body(client.get(f"{base}?limit=25&after={after}", headers=headers))
        seen += [entity["id"] for entity in page["entities"]]
        after = page["next"]
        if not after:
            break
    assert sorted(seen) == sorted(entity.id for entity in made)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lat": 30.5}, "lon"), ({"lat": 30.5, "lon": 114.3}, "datum"), ({"datum": "CGCS2000"}, "lat"),
        ({"lat": 30.5, "lon": 114.3, "datum": "GCJ-02"}, "datum"), ({"name": "  "}, "name"),
        ({"name": "a\0b"}, "name"), ({"registered_address": ""}, "registered_address"),
    ],
)  # fmt: skip
def test_changes_that_say_too_little(
    client: FlaskClient, sign_in: SignIn, rt: Runtime, change: dict[str, Any], field: str
) -> None:
    """A position is given whole and with a datum that is known, and blanks name nothing; in an import as well."""
    with rt.db.write() as session:
        entity = enter(session, rt)[0]
    headers = sign_in("operator")
    reply = client.patch(
        f"/api/v1/entities/{entity.id}", json={**change, "reason": "x", "revision": 1}, headers=headers
    )
    assert (reply.status_code, body(reply)["field"]) == (422, field)
    row = {name: value for name, value in ROWS[0].items() if name != "id"} | {"name": "  "}
    report = client.post("/api/v1/entities/import", json=[row], headers=headers)
    assert body(report)["by_field"] == {"name": 1}


def test_code_tables_over_http(client: FlaskClient, sign_in: SignIn) -> None:
    """Every table is listed; one shows its entries, on a day those of that day; an unknown one is not found."""
    headers = sign_in("officer")
    names = {table["name"] for table in body(client.get("/api/v1/codes", headers=headers))["tables"]}
    assert {"sector", "risk_grade", "inspection_result"} <= names
    shown = body(client.get("/api/v1/codes/risk_grade?on=2026-01-01", headers=headers))
    assert shown["entries"][0] == {"code": "A", "zh": "低风险", "en": "Low"}
    assert client.get("/api/v1/codes/none", headers=headers).status_code == 404
    assert client.get("/api/v1/codes/sector?on=yesterday", headers=headers).status_code == 422
