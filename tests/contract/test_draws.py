"""Draws and ratings on both databases: the file in pieces, one line of it, results, and counters that add up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from schemas.identifiers import make_uscc
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.entities.service import add_entities
from server.errors import Problem
from server.inspections import draw_verifier
from server.plans import batches, explaining, file_parts, service, substituting, visits
from server.ratings.service import MIN_SHOWN, rate, ratings
from server.ratings.tokens import issue_token
from server.runtime import Runtime
from server.web.principal import Principal
from tests.field_device import make_world

OPERATOR, APPROVER = (Principal(name, "operator", "42", "") for name in ("operator", "approver"))


def test_a_draw(rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept in many pieces, it is the same file; its lines are found; tasks are made; nobody is left to substitute."""
    monkeypatch.setattr(file_parts, "PART_BYTES", 300)
    world = make_world(rt)
    with rt.db.write() as session:
        item = session.get_one(SupervisionItem, session.get_one(Checklist, world.checklist).item)
        item.sector = "market"
        firms = [
            Entity(
                id=rt.new_id(), name=f"样例面馆{n}", nature="2", uscc=make_uscc("91", "420106", f"{n + 2:08d}"),
                registered_address="样例路", operating_address="样例路", region="420106001", lat=30.5, lon=114.3,
                datum="WGS-84", sector="market",
            )
            for n in range(20)
        ]  # fmt: skip
        add_entities(session, rt, firms, author="test")
        ids = [one.id for one in firms]
        draft = service.PlanDraft("P-1", "样例计划", 2026, 1, "420100", item.code)
        plan = service.create_plan(session, rt, OPERATOR, draft).id
        service.act_on_plan(session, rt, APPROVER, plan, "approve", "")
    today = rt.now().date()
    order = batches.BatchOrder(today, today + timedelta(days=20), rt.now())
    batch = batches.draw_batch(rt, OPERATOR, batches.announce_batch(rt, OPERATOR, plan, order), "")
    with rt.db.read() as session:
        (tmp_path / "file").write_bytes(b"".join(file_parts.whole(session, batch)))
        row = batches.get_batch(session, OPERATOR, batch)
        assert row.file_sha256 == file_parts.sha256(session, batch)
        assert {explaining.explain(session, row, one).outcome for one in ids} == {"drawn", "passed-over"}
    assert draw_verifier.verify(tmp_path / "file")["entities"] == 20
    with rt.db.write() as session:
        visits.give_out(session, rt, OPERATOR, batch)
        assert visits.dispatch_drawn(session, rt) == 1
    with rt.db.write() as session:
        visit = visits.list_visits(session, batch)[0]
        with pytest.raises(Problem, match="nobody is left"):
            substituting.substitute(session, rt, OPERATOR, batch, 0, visit.officers[0], "病假")


def test_ratings_add_up(rt: Runtime) -> None:
    """Each counts once, whatever its order."""
    tokens = [issue_token(rt, "market", rt.now().date()) for _ in range(MIN_SHOWN)]
    for number, token in enumerate(tokens):
        with rt.db.write() as session:
            rate(session, rt, token, number % 5 + 1, ["03"])
        with rt.db.write() as session, pytest.raises(Problem, match="used"):
            rate(session, rt, token, 1, [])
    with rt.db.read() as session:
        shown = ratings(session)
    assert [(one.ratings, one.mean, one.issues) for one in shown] == [(5, 3.0, {"03": 5})]
