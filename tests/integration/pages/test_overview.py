"""The overview's data, from a database with one of everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from server.accounts.service import load_principal
from server.inspections.models import Inspection
from server.leads.models import Lead
from server.pages.map_view import rule_of
from server.pages.outline import load_outline
from server.pages.overview import CONFLICTS_SHOWN, day_start, load_overview
from server.pages.overview_values import Count, Overview
from server.records.models import Conflict
from server.runtime import Runtime
from server.telemetry.letters import OPEN, REPLAYED, REQUESTED
from server.telemetry.models import DeadLetter
from server.web.principal import Principal
from tests.e2e.pages_world import READINGS, World, build_world
from tests.integration.telemetry.programs import register

MOST_QUERIES = 24
"""Queries that one overview may take, however much it shows."""


@pytest.fixture
def world(rt: Runtime) -> World:
    """The sample province."""
    return build_world(rt)


def view_of(rt: Runtime, account: str) -> Overview:
    """The overview as an account sees it."""
    with rt.db.read() as session:
        return load_overview(session, rt, load_principal(session, account))


def figures(counts: tuple[Count, ...]) -> dict[str, int]:
    """All figures by their keys: `stage` for the main one, `stage.part` for the others."""
    return {count.key: count.value for count in counts} | {
        f"{count.key}.{part.key}": part.value for count in counts for part in count.parts
    }


def test_figures_of_every_stage(rt: Runtime, world: World) -> None:
    """Each stage counts what the sample province holds."""
    counted = figures(view_of(rt, world.operator).counts)
    assert counted["readings"] == READINGS["valid"] + READINGS["invalid"]
    assert counted["readings.invalid"] == READINGS["invalid"]
    assert counted["readings.dead_lettered"] == READINGS["dead_lettered"]
    assert (counted["leads"], counted["leads.total"]) == (2, 2)
    assert (counted["tasks"], counted["tasks.done"]) == (3, 0)
    assert (counted["inspections.in_progress"], counted["inspections.closed"]) == (3, 0)
    assert counted["evidence"] == 2
    assert (counted["evidence.waiting"], counted["evidence.flagged"], counted["evidence.rejected"]) == (1, 1, 1)


def test_an_inspection_submitted_today_counts_as_todays(rt: Runtime, world: World) -> None:
    """What came in since midnight in Beijing is today's; what came in before is not."""
    midnight = day_start(rt.now())
    with rt.db.write() as session:
        for inspection, at in zip(world.inspections, (midnight, midnight - timedelta(seconds=1)), strict=False):
            session.execute(
                update(Inspection).where(Inspection.id == inspection).values(submitted_at=at, status="submitted")
            )
    assert figures(view_of(rt, world.operator).counts)["inspections"] == 1


def test_the_day_begins_at_midnight_in_beijing() -> None:
    """An early morning in UTC belongs to the day that began at 16:00 UTC the evening before."""
    assert day_start(datetime(2026, 3, 2, 1, 0, tzinfo=UTC)) == datetime(2026, 3, 1, 16, 0, tzinfo=UTC)


def test_conflicts_name_entity_and_values(rt: Runtime, world: World) -> None:
    """An open conflict is listed with its entity's name and both live values."""
    view = view_of(rt, world.operator)
    assert view.conflict_count == 1
    (row,) = view.conflicts
    assert (row.id, row.kind, row.field, row.title) == (world.conflict, "inspection", "result", "示例食品厂0")
    assert sorted(row.values) == ["01", "03"]


def test_devices_show_their_last_sync(rt: Runtime, world: World) -> None:
    """Revoked handhelds are not counted; those waiting for approval come first, the others by their last sync."""
    view = view_of(rt, world.operator)
    assert (view.device_count, view.online_count) == (3, 1)
    assert [row.status for row in view.devices] == ["pending", "active", "active", "revoked"]
    newest = view.devices[1]
    assert (newest.officer, newest.online, newest.pending) == ("张样例", True, 1)
    assert newest.last_sync_at == rt.now() - timedelta(minutes=1)
    assert not view.devices[2].online


def test_map_draws_entities_and_leads(rt: Runtime, world: World) -> None:
    """Entities on one spot become one point; open leads stand at their entity; the table counts by prefecture."""
    view = view_of(rt, world.operator)
    spot = load_outline().project(30.55, 114.3)
    assert {(point.x, point.y): point.count for point in view.map.entities}[spot] == 2  # type: ignore[index]  # inside
    assert len(view.map.leads) == view.map.lead_count == 2
    assert "二氧化硫" in view.map.leads[0].label
    by_code = {row.code: (row.entities, row.leads) for row in view.map.prefectures}
    assert by_code["420100"] == (2, 1)
    assert by_code["420600"] == (1, 1)
    assert len(by_code) == 17
    assert [row.rule_en for row in view.leads] == ["SO2 above its hourly limit"] * 2


def test_settled_leads_leave_the_map(rt: Runtime, world: World) -> None:
    """A lead that was verified is still counted, and drawn no more."""
    with rt.db.write() as session:
        session.execute(update(Lead).where(Lead.entity_id == world.entities[1]).values(status="refuted"))
    view = view_of(rt, world.operator)
    assert (view.map.lead_count, len(view.leads)) == (1, 1)
    counted = figures(view.counts)
    assert (counted["leads"], counted["leads.total"]) == (1, 2)


def test_behaviors_and_their_proof(rt: Runtime, world: World) -> None:
    """A behavior in the log names its leaf, a newer one still waits; the head is the signed one."""
    view = view_of(rt, world.operator)
    proved, waiting = sorted(view.behaviors, key=lambda row: row.entity)
    assert (waiting.leaf, waiting.entity) == (None, "示例食品厂2")
    assert (proved.id, proved.leaf, proved.officers) == (world.behavior, 0, ("张样例", "李样例"))
    assert view.tree_head is not None
    assert (view.tree_head.size, view.tree_head.pending) == (1, 1)
    assert len(bytes.fromhex(view.tree_head.root)) == 32
    assert view.tree_head.signed_at == rt.now()
    counted = figures(view.counts)
    assert (counted["behaviors"], counted["behaviors.today"]) == (2, 2)
    assert (counted["proof"], counted["proof.waiting"]) == (1, 1)


def test_a_city_sees_its_own_part(rt: Runtime, world: World) -> None:
    """An operator of Wuhan sees nothing of Xiangyang, and no province-wide totals of readings."""
    view = view_of(rt, world.city_operator)
    counted = figures(view.counts)
    assert (counted["leads"], counted["tasks"], counted["readings"]) == (1, 2, 0)
    assert (view.map.entity_count, view.map.lead_count) == (2, 1)
    assert view.conflict_count == 1
    assert view.device_count == 3
    assert [row.id for row in view.behaviors] == [world.behavior]


def test_a_city_counts_no_replayed_dead_letters(rt: Runtime, world: World) -> None:
    """A replayed dead letter stands for no reading any more; open and requested ones do."""
    register(rt, "s1")
    with rt.db.write() as session:
        for number, status in enumerate((OPEN, REQUESTED, REPLAYED)):
            session.add(dead_letter(rt, f"letter-{number}", status, readings=10**number))
    assert figures(view_of(rt, world.city_operator).counts)["readings.dead_lettered"] == 11


def dead_letter(rt: Runtime, letter_id: str, status: str, readings: int) -> DeadLetter:
    """A letter about readings of the sensor `s1`."""
    return DeadLetter(
        id=letter_id, identity=letter_id, received_at=rt.now(), topic="t", sensor_id="s1", reason="bad-reading",
        detail="", factor="", time="", readings=readings, whole=True, payload=b"", status=status,
    )  # fmt: skip


@pytest.mark.parametrize(("region", "department"), [("4206", ""), ("42", "emergency")])
def test_others_see_none_of_it(rt: Runtime, world: World, region: str, department: str) -> None:
    """Another city, or another department, has no conflict and no handheld here."""
    with rt.db.read() as session:
        view = load_overview(session, rt, Principal("x", "operator", region, department))
    assert view.conflict_count == 0
    assert view.conflicts == ()
    assert view.devices == ()
    assert world.conflict


@contextmanager
def counted_queries(session: Session) -> Iterator[list[str]]:
    """Collect the statements that a session runs."""
    seen: list[str] = []
    bind = session.get_bind()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(bind, "before_cursor_execute", note)
    yield seen
    event.remove(bind, "before_cursor_execute", note)


def test_queries_do_not_grow_with_the_data(rt: Runtime, world: World) -> None:
    """One overview takes a handful of queries, and as many with twenty conflicts as with one."""
    with rt.db.write() as session:
        (first,) = session.query(Conflict).all()
        for _ in range(19):
            copy = {column.name: getattr(first, column.name) for column in Conflict.__table__.columns}
            session.add(Conflict(**(copy | {"id": rt.new_id()})))
    with rt.db.read() as session, counted_queries(session) as seen:
        view = load_overview(session, rt, load_principal(session, world.operator))
    assert view.conflict_count == 20
    assert len(view.conflicts) == CONFLICTS_SHOWN
    assert len(seen) <= MOST_QUERIES


@pytest.mark.parametrize(
    ("title", "rule"),
    [("二氧化硫超限：一号", "二氧化硫超限"), ("SO2 high: sensor 1", "SO2 high"), ("plain", "plain")],
)
def test_the_rule_in_a_leads_title(title: str, rule: str) -> None:
    """The list names the rule; the sensor behind it is left out."""
    assert rule_of(title) == rule


def test_before_anything_happened(rt: Runtime) -> None:
    """An empty platform has an overview too: zeros, no head, and every prefecture with nothing in it."""
    with rt.db.read() as session:
        view = load_overview(session, rt, Principal("x", "admin", "", ""))
    assert {count.value for count in view.counts} == {0}
    assert view.tree_head is None
    assert (view.behaviors, view.conflicts, view.devices, view.leads) == ((), (), (), ())
    assert {(row.entities, row.leads) for row in view.map.prefectures} == {(0, 0)}
