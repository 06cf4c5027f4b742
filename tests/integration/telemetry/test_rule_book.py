"""The book of rules over HTTP and at the command line: drafted, tried, put in force, superseded, run again."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from schemas.telemetry import BUILTIN_RULES, Message, Reading, readings_topic
from server.cli import main
from server.leads.models import Lead
from server.leads.service import take_changes
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.aggregation import aggregate_step
from server.telemetry.hour_judge import HourJudge
from server.telemetry.intake import take_in
from server.telemetry.models import StoredAggregate, StoredReading, TierHorizon
from server.telemetry.provisioning import add_period, end_period
from tests.conftest import START, FakeClock
from tests.integration.telemetry.programs import register

SignIn = Callable[..., dict[str, str]]
RULES = "/api/v1/telemetry/rules"
FIRST = START - timedelta(hours=48)
HIGH = {
    "code": "so2-high", "factor": "SO2", "threshold": 100, "clear_level": 50, "window_hours": 3, "min_valid_hours": 3,
    "max_silence_hours": 6, "title_zh": "样例", "title_en": "sample", "reason": "a sample",
}  # fmt: skip
ALL = {"since": FIRST.isoformat(), "until": START.isoformat()}
VALUES = [10.0, *[120.0, 130.0, 140.0], 10.0, 10.0, *[210.0, 220.0, 230.0, 60.0, 70.0], *[10.0] * 20]


def say(rt: Runtime, sensor: str, values: list[float], seq: int = 1, first: datetime = FIRST) -> None:
    """Have a sensor say hourly means of SO2, and the worker do its work."""
    readings = tuple(Reading(first + timedelta(hours=n), "SO2", value, "ug/m3", "N") for n, value in enumerate(values))
    message = Message(readings_topic(sensor), f"{sensor}{seq}".encode(), rt.now(), sensor, seq, readings)
    with rt.db.write() as session:
        take_changes(session, rt, take_in(session, rt, [message]).changes)
    work(rt)


def work(rt: Runtime) -> None:
    """Run the worker's steps until there is nothing to do."""
    judge = HourJudge(take_changes)
    while aggregate_step(rt) + judge(rt):
        pass


def standing(rt: Runtime) -> list[tuple[str, int, int]]:
    """The leads that stand: rule, version it was opened by, hour of its start."""
    with rt.db.read() as session:
        found = [lead for lead in session.scalars(select(Lead).order_by(Lead.id)).all() if lead.withdrawn_at is None]
        hours = ((lead, int((lead.started_at - FIRST) / timedelta(hours=1))) for lead in found)
        return sorted((lead.rule_code, lead.rule_version, hour) for lead, hour in hours)


class Book:
    """The API as one person uses it."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        """Sign in."""
        self._client, self._headers = client, headers

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
        """Post, expect a status, and return the answer."""
        reply = self._client.post(f"{RULES}{path}", json=body, headers=self._headers)
        assert reply.status_code == status, reply.get_data(as_text=True)
        return dict(reply.get_json())

    def active(self, body: dict[str, Any], **more: Any) -> str:  # noqa: ANN401 - members of the body
        """Draft, try and activate a rule; return its id."""
        rule = str(self.post("", body, 201)["rule"])
        self.post(f"/{rule}/back-test", ALL)
        self.post(f"/{rule}/activate", {"reason": "tried", **more})
        return rule


@pytest.fixture
def book(client: FlaskClient, sign_in: SignIn) -> Book:
    """An administrator's."""
    return Book(client, sign_in("admin"))


def test_a_rule_is_tried_before_it_is_put_in_force(rt: Runtime, book: Book, clock: FakeClock) -> None:
    """Untried it is refused; the back-test shows what would be raised and raises nothing; then it judges what comes."""
    register(rt, "s1", "s2")
    say(rt, "s1", VALUES)
    rule = str(book.post("", HIGH, 201)["rule"])
    assert book.post(f"/{rule}/activate", {"reason": "now"}, 409)["field"] == "preview"
    found = book.post(f"/{rule}/back-test", ALL)
    assert (found["episodes"], found["sensors"], found["sensors_with_data"]) == (2, 2, 1)
    assert [item["peak"] for item in found["shown"]] == [140, 230]
    assert found["shown"][0]["explanation_en"].startswith("3 of 3 valid hourly means of SO2 above 100")
    assert [item["known"] for item in found["shown"]] == [False, False]
    assert standing(rt) == []
    active = book.post(f"/{rule}/activate", {"reason": "tried"})
    assert (active["status"], active["decision"], active["preview"]["episodes"]) == ("active", "tried", 2)
    clock.advance(7200)
    work(rt)
    assert standing(rt) == [], "what lies before its time is not its business"
    clock.advance(6 * 3600)
    say(rt, "s1", [150.0, 160.0, 170.0], 2, START)
    assert standing(rt) == [("so2-high", 1, 48)]


def test_put_in_force_in_the_past_it_judges_what_is_stored(rt: Runtime, book: Book) -> None:
    """A mended rule takes over the episodes of the version before it, one lead each; others are withdrawn."""
    register(rt, "s1")
    say(rt, "s1", VALUES)
    book.active(HIGH, effective_from=FIRST.isoformat())
    work(rt)
    assert standing(rt) == [("so2-high", 1, 1), ("so2-high", 1, 6)]
    book.active(HIGH | {"threshold": 200, "clear_level": 65}, effective_from=FIRST.isoformat())
    work(rt)
    assert standing(rt) == [("so2-high", 1, 6)]
    with rt.db.read() as session:
        by_start = {lead.started_at: lead for lead in session.scalars(select(Lead).order_by(Lead.id)).all()}
        assert by_start[FIRST + timedelta(hours=6)].ended_at == FIRST + timedelta(hours=9)
    book.active(HIGH | {"threshold": 110}, effective_from=FIRST.isoformat())
    work(rt)
    assert standing(rt) == [("so2-high", 1, 1), ("so2-high", 1, 6)], "a withdrawn lead stands again"
    with rt.db.read() as session:
        assert len(session.scalars(select(Lead).order_by(Lead.id)).all()) == 2
    listed = [(row["version"], row["status"]) for row in _list(book) if row["code"] == "so2-high"]
    assert listed == [(1, "superseded"), (2, "superseded"), (3, "active")]


def _list(book: Book) -> list[dict[str, Any]]:
    reply = book._client.get(f"{RULES}?limit=500", headers=book._headers)
    return list(reply.get_json()["rules"])


def test_judged_again_the_arriving_means_go_on(rt: Runtime, book: Book, clock: FakeClock) -> None:
    """An episode that lasts is followed by later means under its own lead, also after the rule was run again."""
    register(rt, "s1")
    rule = book.active(HIGH, effective_from=FIRST.isoformat())
    say(rt, "s1", [120.0, 130.0, 140.0, 150.0])
    work(rt)
    assert standing(rt) == [("so2-high", 1, 0)]
    book.post("/judge-again", {**ALL, "rule": rule, "sensor": "s1"}, 202)
    book.post("/judge-again", {**ALL, "rule": rule}, 202)
    work(rt)
    say(rt, "s1", [400.0, 20.0], 2, FIRST + timedelta(hours=4))
    with rt.db.read() as session:
        (lead,) = session.scalars(select(Lead).order_by(Lead.id)).all()
        assert (lead.peak, lead.ended_at, lead.withdrawn_at) == (400.0, FIRST + timedelta(hours=5), None)


def test_a_rule_is_ended_or_discarded(rt: Runtime, book: Book, clock: FakeClock) -> None:
    """Ended, it judges nothing any more; a draft that is given up stays in the book; neither comes back."""
    register(rt, "s1")
    rule = book.active(HIGH)
    assert book.post(f"/{rule}/end", {"reason": "not needed"})["status"] == "superseded"
    assert book.post(f"/{rule}/end", {"reason": "again"}, 409)["legal"] == []
    draft = str(book.post("", HIGH, 201)["rule"])
    assert book.post(f"/{draft}/discard", {"reason": "no"})["status"] == "discarded"
    book.post(f"/{draft}/activate", {"reason": "yes"}, 409)
    clock.advance(8 * 3600)
    say(rt, "s1", [150.0] * 4, 1, START)
    assert standing(rt) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"code": "SO2 high"}, "code"), ({"clear_level": 120}, "rule"), ({"window_hours": 2}, "rule"),
        ({"step_s": 300, "window_hours": 3.01}, "window_hours"), ({"unit": "mg/m3"}, "unit"),
        ({"factor": "VOC"}, "factor"),
        ({"threshold": 1e13, "clear_level": 1e13}, "threshold"), ({"daily_from": "22:00"}, "daily_from"),
        ({"daily_from": "25:00", "daily_to": "06:00"}, "daily_from"), ({"measure": "absence", "step_s": 300}, "step_s"),
        ({"measure": "drift"}, "radius_km"), ({"measure": "drift", "radius_km": 5, "min_neighbours": 2}, "floor"),
        ({"measure": "expression", "expression": "SO2 ** 2"}, "expression"), ({"measure": "expression"}, "expression"),
        ({"measure": "mood"}, "measure"), ({"max_silence_hours": 1}, "rule"), ({"share": 0}, "share"),
    ],
)  # fmt: skip
def test_a_rule_that_contradicts_itself_is_refused(book: Book, change: dict[str, Any], field: str) -> None:
    """The problem names the field."""
    problem = book.post("", HIGH | change, 422)
    named = problem.get("field") or "".join(problem.get("errors", {}))
    assert field in named or field in json.dumps(problem)


def test_a_rule_says_what_it_was_written_with(client: FlaskClient, sign_in: SignIn, book: Book) -> None:
    """Its settings come back by the names under which they were given; what is usual is left out."""
    body = HIGH | {"step_s": 300, "share": 0.9, "below": False, "daily_from": "22:00", "daily_to": "06:30"}
    rule = book.post("", body, 201)
    shown = client.get(f"{RULES}/{rule['rule']}", headers=sign_in("auditor")).get_json()
    assert {name: shown[name] for name in ("step_s", "share", "daily_from", "daily_to", "unit", "author")} == {
        "step_s": 300, "share": 0.9, "daily_from": "22:00", "daily_to": "06:30", "unit": "ug/m3",
        "author": shown["author"],
    }  # fmt: skip
    assert "below" not in shown


def test_rules_keep_to_scopes(client: FlaskClient, sign_in: SignIn, rt: Runtime) -> None:
    """A county's operator writes rules for the county, sees the province's too, and changes only its own."""
    register(rt, "s1")
    county = Book(client, sign_in("operator", region="420106", department="env"))
    county.post("", HIGH, 404)
    own = str(county.post("", HIGH | {"region": "420106", "department": "env"}, 201)["rule"])
    province = Book(client, sign_in("operator"))
    other = str(province.post("", HIGH, 201)["rule"])
    elsewhere = Book(client, sign_in("operator", region="420206", department="env"))
    assert {row["rule"] for row in _list(county)} >= {own, other}
    assert own not in {row["rule"] for row in _list(elsewhere)}
    county.post(f"/{other}/back-test", ALL, 404)
    elsewhere.post(f"/{own}/activate", {"reason": "mine"}, 404)
    county.post("/judge-again", ALL, 404)
    county.post("/judge-again", {**ALL, "sensor": "s1"}, 202)
    far = {"since": "2020-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert province.post("/judge-again", far, 422)["field"] == "until"
    assert province.post(f"/{other}/back-test", far, 422)["field"] == "until"


def test_the_book_at_the_command_line(rt: Runtime, tmp_path: Path) -> None:
    """Drafted from a file, tried, activated and ended; a table of what would have been raised."""
    register(rt, "s1")
    say(rt, "s1", VALUES)
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(HIGH), encoding="utf-8")
    env = {"FIELDPROOF_HOME": str(rt.settings.home), "COLUMNS": "200"}

    def run(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["rules", *arguments], env=env)
        assert result.exit_code == status, result.output
        return str(result.output)

    since, until = "2026-02-26", "2026-03-03"
    assert run("draft", str(file)) == "so2-high/1\n"
    assert "back-test" in run("activate", "so2-high/1", "--reason", "now", status=1)
    tried = run("back-test", "so2-high/1", "--since", since, "--until", until)
    assert "3 个有效小时均值中有 3 个高于 100" in tried
    assert "事件 episodes: 2" in tried
    assert "生效" in run("activate", "so2-high/1", "--reason", "tried", "--from", since)
    work(rt)
    assert standing(rt) == [("so2-high", 1, 1), ("so2-high", 1, 6)]
    assert '"status": "active"' in run("show", "so2-high/1")
    assert "so2-high/1" in run("list", "--status", "active")
    run("judge-again", "--since", since, "--until", until, "--rule", "so2-high/1")
    run("end", "so2-high/1", "--reason", "done")
    run("draft", str(file))
    run("discard", "so2-high/2", "--reason", "done")
    assert "no rule" in run("show", "so2-high/9", status=1)
    file.write_text(json.dumps(HIGH | {"factor": "VOC"}), encoding="utf-8")
    assert "factor" in run("draft", str(file), status=1)


def test_built_in_drafts_are_sound(rt: Runtime, book: Book) -> None:
    """Each draft that a platform starts with can be tried."""
    register(rt, "s1")
    drafts = [row["rule"] for row in _list(book) if row["status"] == "draft"]
    assert len(drafts) == len(BUILTIN_RULES["drafts"])
    for rule in drafts:
        book.post(f"/{rule}/back-test", ALL)


FLAT = HIGH | {
    "code": "so2-flat", "measure": "flat", "category": "fraud", "threshold": 0, "clear_level": 0, "window_hours": 6,
    "min_valid_hours": 6, "max_silence_hours": 12,
}  # fmt: skip


def test_a_stuck_channel_accuses_nobody_of_a_breach(rt: Runtime, book: Book) -> None:
    """A value that stands still is a lead of fraud; the breach it seemed to show is withdrawn, a real one is not."""
    register(rt, "s1")
    book.active(HIGH, effective_from=FIRST.isoformat())
    book.active(FLAT, effective_from=FIRST.isoformat())
    say(rt, "s1", [110.0, 120.0, 130.0, 10.0, *[300.0] * 8])
    assert standing(rt) == [("so2-flat", 1, 4), ("so2-high", 1, 0)]
    with rt.db.read() as session:
        found = {
            (lead.rule_code, lead.category): lead.withdrawn_at
            for lead in session.scalars(select(Lead).order_by(Lead.id)).all()
        }
    assert found.keys() == {("so2-high", "breach"), ("so2-flat", "fraud")}
    say(rt, "s1", [300.0] * 8, 2, FIRST + timedelta(hours=12))
    with rt.db.read() as session:
        assert len(session.scalars(select(Lead).order_by(Lead.id)).all()) == 3, "no further lead while it stands still"
    say(rt, "s1", [10.0, *[210.0, 220.0, 230.0]], 3, FIRST + timedelta(hours=20))
    assert standing(rt) == [("so2-flat", 1, 4), ("so2-high", 1, 0), ("so2-high", 1, 21)]


def test_a_period_entered_late_counts_as_if_it_had_been_known(rt: Runtime, book: Book) -> None:
    """What is stored of that time does not count any more: its lead is withdrawn; ended earlier, it stands again."""
    register(rt, "s1")
    book.active(HIGH, effective_from=FIRST.isoformat())
    say(rt, "s1", VALUES)
    assert standing(rt) == [("so2-high", 1, 1), ("so2-high", 1, 6)]
    with rt.db.write() as session:
        period = add_period(
            session, rt, "s1", kind="maintenance", starts_at=FIRST + timedelta(hours=6), ends_at=None, note=""
        )
        period_id = period.id
    work(rt)
    assert standing(rt) == [("so2-high", 1, 1)]
    with rt.db.read() as session:
        assert service.count_readings(session) == {"valid": 6, "invalid": 25}
        counted = service.counters(session)
        assert (counted["valid"], counted["invalid"]) == (6, 25)
    with rt.db.write() as session:
        end_period(session, "s1", period_id, FIRST + timedelta(hours=6, minutes=1))
    work(rt)
    assert standing(rt) == [("so2-high", 1, 1)], "two hours above are not three"
    with rt.db.read() as session:
        assert service.count_readings(session) == {"valid": 30, "invalid": 1}


def test_what_was_cleared_away_makes_no_rule_change_its_mind(rt: Runtime, book: Book) -> None:
    """Hours and readings that are not kept any more are no silence: episodes found in them stay as they are."""
    register(rt, "s1")
    book.active(HIGH, effective_from=FIRST.isoformat())
    book.active(FLAT | {"measure": "expression", "expression": "SO2 > 205", "code": "so2-worked-out", "unit": "1",
                        "window_hours": 2, "min_valid_hours": 2}, effective_from=FIRST.isoformat())  # fmt: skip
    say(rt, "s1", [210.0] * 12)
    before = standing(rt)
    assert before == [("so2-high", 1, 0), ("so2-worked-out", 1, 0)]
    with rt.db.write() as session:
        for tier in ("raw", "hour"):
            session.add(TierHorizon(tier=tier, cleared_to=FIRST + timedelta(hours=8)))
        session.execute(delete(StoredAggregate).where(StoredAggregate.at < FIRST + timedelta(hours=8)))
        session.execute(delete(StoredReading).where(StoredReading.at < FIRST + timedelta(hours=8)))
    for rule in [row["rule"] for row in _list(book) if row["status"] == "active"]:
        book.post("/judge-again", {**ALL, "rule": rule}, 202)
    say(rt, "s1", [300.0, 10.0], 2, FIRST + timedelta(hours=12))
    assert standing(rt) == before
    with rt.db.read() as session:
        found = [
            (lead.started_at, lead.last_at, lead.ended_at)
            for lead in session.scalars(select(Lead).order_by(Lead.id)).all()
        ]
    ended = FIRST + timedelta(hours=13)
    assert found == [(FIRST, ended - timedelta(hours=1), ended)] * 2
