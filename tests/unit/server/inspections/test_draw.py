"""The double-random draw: weights honoured, rules kept, the published file reproduced by the stand-alone verifier."""

import io
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.inspections import draw_verifier
from server.inspections.draw import (
    Candidate,
    Inspector,
    OfficerDraw,
    Rules,
    Stratum,
    check_rules,
    draw_entities,
)
from server.inspections.draw_file import (
    Reveal,
    announce,
    candidates_of,
    carry_out,
    commitment,
    entity_roster,
    inspectors_of,
    make_seed,
    officer_roster,
    rules_from_json,
    rules_to_json,
    write_file,
)

GRADES = ("A", "B", "C", "D")
RULES = Rules(
    strata=(Stratum("low", ("A", "B"), GRADES, 50, 1), Stratum("high", ("C", "D"), GRADES, 200, 2)),
    tickets={"A": 1, "B": 2, "C": 4, "D": 8},
    visits_cap=2,
    officers=2,
    load_slack=1,
    sector="market",
    visits_from="2026-03-01",
    visits_until="2026-06-30",
)
SECRET = "5e" * 32


def people(count: int = 8) -> list[Inspector]:
    """Officers of two counties and the city."""
    return [
        Inspector(
            f"officer-{i:03d}", ("420106", "420107", "4201")[i % 3], "2020-01-01", "2030-01-01",
            frozenset(), 0, 500, frozenset(),
        )
        for i in range(count)
    ]  # fmt: skip


def firms(count: int, seed: int = 1) -> list[Candidate]:
    """Entities of all grades."""
    rng = random.Random(seed)
    return [
        Candidate(
            (f"entity-{i:05d}", rng.choice(("420106001", "420107002")), rng.choice(GRADES), rng.choice(GRADES),
             rng.randrange(4), "closed" if rng.random() < 0.05 else "")
        )
        for i in range(count)
    ]  # fmt: skip


def publish(entities: list[Candidate], officers: list[Inspector], rules: Rules = RULES, beacon: str = "") -> bytes:
    """The whole published file of a draw."""
    roster, staff = entity_roster(entities), officer_roster(officers)
    source = {"source": "样例信标", "round": "1"} if beacon else None
    announcement = announce(
        {"id": "plan"}, rules, roster, staff, committed=commitment(SECRET), beacon=source, announced_at="2026-02-01"
    )
    out = io.BytesIO()
    result = carry_out(rules, make_seed(SECRET, beacon), roster, staff)
    write_file(out, announcement, roster, staff, Reveal(SECRET, beacon, "2026-02-02"), result)
    return out.getvalue()


def test_first_place_goes_by_tickets() -> None:
    """Over 4,000 seeds the first drawn is distributed as the tickets (chi-square, 3 degrees, p > 0.001)."""
    roster = [Candidate((grade, "420106001", "A", grade, 0, "")) for grade in GRADES]
    rules = replace(RULES, strata=(Stratum("all", GRADES, GRADES, 1),))
    runs = 4_000
    won = Counter(GRADES[draw_entities(rules, make_seed(str(i), ""), roster).drawn[0]] for i in range(runs))
    expected = {grade: runs * RULES.tickets[grade] / 15 for grade in GRADES}
    assert sum((won[grade] - expected[grade]) ** 2 / expected[grade] for grade in GRADES) < 16.27


def test_equal_tickets_are_drawn_evenly() -> None:
    """Twenty firms of one grade, five drawn, 2,000 seeds: inclusion is even (chi-square, 19 degrees, p > 0.001)."""
    roster = [Candidate((f"firm-{i}", "420106001", "A", "A", 0, "")) for i in range(20)]
    rules = replace(RULES, strata=(Stratum("all", GRADES, GRADES, 250),))
    seen: Counter[int] = Counter()
    for i in range(2_000):
        seen.update(draw_entities(rules, make_seed(str(i), ""), roster).drawn)
    # Draws without replacement vary less than independent ones: the bound is on the safe side.
    assert sum((seen[i] - 500) ** 2 / 500 for i in range(20)) < 43.82


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300))
def test_rules_are_kept(seed: int, count: int) -> None:
    """Quotas are exact, nobody over the cap or with a reason is drawn, and no passed-over ticket beats a drawn one."""
    roster = firms(count, seed)
    drawn = draw_entities(RULES, make_seed(str(seed), ""), roster)
    assert len(set(drawn.drawn)) == len(drawn.drawn) == sum(s.quota for s in drawn.strata)
    for index, row in enumerate(roster):
        outcome, where = drawn.outcome(index)
        if row[5] or row[4] >= RULES.visits_cap:
            assert (outcome, where) == ("excluded", row[5] or "frequency-cap")
        else:
            stratum = next(s for s in drawn.strata if s.name == where)
            assert outcome == ("drawn" if index in drawn.drawn else "passed-over")
            assert (drawn.best[index] >= stratum.cut) == (outcome == "drawn") or stratum.quota == 0


def test_reasons_for_being_left_out() -> None:
    """Grades outside every stratum and grades without tickets are named as such."""
    rules = replace(RULES, strata=(Stratum("low", ("A",), GRADES, 1000),), tickets={"A": 1, "B": 0})
    roster = [
        Candidate((name, "420106001", risk, credit, 0, ""))
        for name, risk, credit in (("1", "A", "A"), ("2", "D", "A"), ("3", "A", "B"))
    ]
    drawn = draw_entities(rules, make_seed("x", ""), roster)
    assert [drawn.outcome(i) for i in range(3)] == [
        ("drawn", "low"), ("excluded", "no-stratum"), ("excluded", "no-tickets"),
    ]  # fmt: skip


def test_officers_who_may_not_go() -> None:
    """Expired, out of scope, avoiding, at capacity, and of another place: each is refused for its reason."""
    good = people(1)[0]
    staff = [
        replace(good, id="a"), replace(good, id="b"),
        replace(good, id="expired", valid_until="2026-06-29"),
        replace(good, id="early", valid_from="2026-03-02"),
        replace(good, id="scope", scope=frozenset({"ecology"})),
        replace(good, id="kin", avoids=frozenset({"firm"})),
        replace(good, id="busy", load=500),
        replace(good, id="far", region="420107"),
    ]  # fmt: skip
    found = OfficerDraw(RULES, make_seed("x", ""), staff).draw("firm", "420106001")
    assert set(found.officers) == {"a", "b"}
    assert found.eligible == 2
    assert found.refused == {"at-capacity": 1, "avoidance": 1, "certificate-expired": 2, "out-of-scope": 1}


def test_officers_avoiding_each_other_do_not_go_together() -> None:
    """Of three, the two who avoid each other are never a team; two who do make none."""
    a, b, c = (replace(people(1)[0], id=name) for name in "abc")
    a = replace(a, avoids=frozenset({"b"}))
    for i in range(30):
        team = OfficerDraw(RULES, make_seed(str(i), ""), [a, b, c]).draw(f"firm-{i}", "420106001").officers
        assert len(team) == 2
        assert set(team) != {"a", "b"}
    assert OfficerDraw(RULES, make_seed("x", ""), [a, b]).draw("firm", "420106001").officers == ()


def test_work_is_balanced() -> None:
    """After 300 draws among ten officers nobody has more than the slack beyond the least loaded, and one more."""
    staff = [replace(people(1)[0], id=f"o{i}") for i in range(10)]
    lottery = OfficerDraw(RULES, make_seed("x", ""), staff)
    load = Counter(o for i in range(300) for o in lottery.draw(f"firm-{i}", "420106001").officers)
    assert max(load.values()) - min(load.values()) <= RULES.load_slack + 1


@pytest.mark.parametrize("beacon", ["", "8d0f"])
def test_verifier_reproduces_the_file(tmp_path: Path, beacon: str) -> None:
    """The verifier, written apart from the draw, comes to every line of the file, run on its own from elsewhere."""
    path = tmp_path / "draw.txt"
    path.write_bytes(publish(firms(400), people(), beacon=beacon))
    script = tmp_path / "verifier.py"
    script.write_bytes(Path(draw_verifier.__file__).read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", script, path], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "entities: 400" in done.stdout


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_verifier_notices_every_change(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever byte is changed after the announcement, the file is not reproduced."""
    content = bytearray(SMALL)
    place = data.draw(st.integers(content.index(b"\n") + 1, len(content) - 2))
    content[place] ^= data.draw(st.sampled_from((1, 2, 4, 16)))
    path = tmp_path_factory.mktemp("draw") / "draw.txt"
    path.write_bytes(content)
    with pytest.raises(draw_verifier.DrawError):
        draw_verifier.verify(path)


SMALL = publish(firms(40), people())


@pytest.mark.parametrize("cut", [0, 10, 700, -1])
def test_verifier_on_what_is_no_draw(tmp_path: Path, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Short, empty and foreign files are refused in one line, and the command says how it is used."""
    path = tmp_path / "draw.txt"
    path.write_bytes(SMALL[:cut])
    assert draw_verifier.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("不符")
    path.write_bytes(b"[1]\n")
    assert draw_verifier.main([str(path)]) == 1
    path.write_bytes(b'{"v":"other"}\n')
    assert draw_verifier.main([str(path)]) == 1
    assert draw_verifier.main([]) == 2


def test_another_secret_is_refused(tmp_path: Path) -> None:
    """A secret that was not committed to cannot make the seed."""
    path = tmp_path / "draw.txt"
    path.write_bytes(SMALL.replace(SECRET.encode(), ("5f" * 32).encode()))
    with pytest.raises(draw_verifier.DrawError, match="committed"):
        draw_verifier.verify(path)


def test_rosters_and_rules_round_trip() -> None:
    """What is written is read back."""
    assert list(candidates_of(entity_roster(firms(50)))) == firms(50)
    staff = [replace(one, scope=frozenset({"a", "b"}), avoids=frozenset({"x"})) for one in people()]
    assert inspectors_of(officer_roster(staff)) == staff
    assert rules_from_json(rules_to_json(RULES)) == RULES


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RULES, strata=()),
        replace(RULES, strata=(*RULES.strata, RULES.strata[0])),
        replace(RULES, strata=(Stratum("a", (), (), 1001),)),
        replace(RULES, tickets={"A": 9}),
        replace(RULES, officers=1),
        replace(RULES, visits_cap=0),
        replace(RULES, visits_until="2026-01-01"),
    ],
    ids=["no strata", "twice", "rate", "tickets", "one officer", "cap", "days"],
)
def test_rules_that_cannot_be_used(wrong: Rules) -> None:
    """Each has a reason; the good ones have none."""
    assert check_rules(wrong)
    assert check_rules(RULES) is None
