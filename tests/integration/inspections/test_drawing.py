"""Drawing from the registers, and the commands: made by a seed, published whole, reproduced, explained."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from server.cli import main
from server.entities.models import Entity
from server.errors import Problem
from server.inspections import draw_verifier
from server.inspections.draw_file import Roster
from server.inspections.drawing import DrawOrder, candidates, draw_to_file, fresh_secret, secret_from_number
from server.officers.models import Officer
from server.officers.service import add_avoidance
from server.province.seeding import seed_province
from server.runtime import Runtime


def test_draw_from_the_sample_province(rt: Runtime, tmp_path: Path) -> None:
    """Seeding again changes nothing; closed entities are named as such, all drawn get officers, the file verifies."""
    counts = seed_province(rt, 400, 7, lambda _name, _rows: None)
    assert counts == {
        "knowledge": 24, "items": 33, "checklists": 28, "officers": 504, "plans": 24, "entities": 400, "complaints": 6,
        "credit-records": 9, "key-subjects": 1,
    }  # fmt: skip
    assert set(seed_province(rt, 400, 7, lambda _name, _rows: None).values()) == {0}
    with rt.db.write() as session:
        closed = session.execute(select(Entity).where(Entity.sector == "market").limit(1)).scalar_one()
        closed.status = "closed"
        officer = session.execute(select(Officer.id).limit(1)).scalar_one()
        add_avoidance(session, rt, officer, closed.id, author="op", reason="亲属")
        closed_id = closed.id
    out = tmp_path / "draw.txt"
    order = DrawOrder.from_today(rt, "market", "420000")
    with rt.db.read() as session:
        figures = draw_to_file(session, rt, order, secret_from_number(7), out)
        assert [row[0] for row in candidates(session, order) if row[5]] == [closed_id]
    assert figures["drawn"] == figures["assigned"] > 0
    report = draw_verifier.verify(out)
    assert (report["entities"], report["excluded"], report["drawn"]) == (figures["entities"], 1, figures["drawn"])
    assert f"{closed_id}\texcluded\tclosed\t" in out.read_text(encoding="utf-8")
    assert Roster(b"a\nb\n").count == 2
    assert len(fresh_secret(rt)) == 64


def test_nothing_to_draw_from(rt: Runtime, tmp_path: Path) -> None:
    """Without a checklist for the sector there is no inspection, and no file."""
    with rt.db.read() as session, pytest.raises(Problem, match="no checklist"):
        draw_to_file(session, rt, DrawOrder.from_today(rt, "market", "420000"), "00", tmp_path / "draw.txt")
    assert list(tmp_path.glob("*draw*")) == []


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed a province, draw, verify; one seed draws the same; a spoiled file and wrong input say so in one line."""
    monkeypatch.setenv("FIELDPROOF_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    assert run(main, ["seed"]).exit_code == 2
    assert run(main, ["seed", "--entities", "200", "--seed", "7"]).exit_code == 0
    drawn = []
    for name in ("a", "b"):
        path = tmp_path / name
        done = run(main, ["draw", "run", "--seed", "7", "--sector", "ecology", "--out", str(path)])
        assert done.exit_code == 0, done.output
        drawn.append([line for line in path.read_text(encoding="utf-8").splitlines() if "\tdrawn\t" in line])
    assert drawn[0] == drawn[1] != []
    assert run(main, ["draw", "verify", str(tmp_path / "a")]).exit_code == 0
    explained = run(main, ["draw", "explain", str(tmp_path / "a"), drawn[0][0].split("\t")[0]])
    assert explained.output.startswith("抽中：分层")
    assert "officers could go; drawn: " in explained.output
    assert run(main, ["draw", "explain", str(tmp_path / "a"), "nobody"]).exit_code == 1
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes().replace(b"\tdrawn\t", b"\tpassed-over\t", 1))
    assert run(main, ["draw", "verify", str(tmp_path / "b")]).exit_code == 1
    assert run(main, ["draw", "run", "--region", "110000", "--out", str(tmp_path / "c")]).exit_code == 2
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"name": "x"}\n')
    done = run(main, ["entities", "import", str(rows), "--report", str(tmp_path / "report.json")])
    assert "拒绝 refused: 1" in done.output
    assert '"field": "uscc"' in (tmp_path / "report.json").read_text(encoding="utf-8")
    assert run(main, ["entities", "import", str(tmp_path / "a")]).exit_code == 2
