"""Migrating records that were served field by field."""

import json
from pathlib import Path

from alembic import command
from sqlalchemy import text

from server.config import load_settings
from server.migrating import alembic_config
from server.records.lines import Placement, decode_state, encode_line
from server.runtime import build_runtime
from sync.policies import conflicts

JOURNAL = "0198d9c0-4c00-7000-8000-0000000000a1"
FIELDS = {
    "notes": [
        {"dot": f"{JOURNAL}:2", "value": "一", "at_ms": 5},
        {"dot": f"{JOURNAL}:10", "value": "二", "at_ms": 7},
    ],
    "scene": [{"dot": f"{JOURNAL}:10", "value": {"a": [1, 2.5, None]}, "at_ms": 7}],
}
INSERT = (
    "INSERT INTO synced_record (kind, id, position, region, department, assigned, deleted, conflict_fields, line) "
    "VALUES ('inspection', :id, :position, '420106', 'd', false, false, '[]', :line)"
)


def old_line(number: int) -> bytes:
    """A record's line as it was stored before."""
    members = {
        "kind": "inspection", "id": f"r{number}", "position": number, "region": "420106", "department": "d",
        "fields": FIELDS, "deleted": False, "conflicts": [],
    }  # fmt: skip
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def test_lines_are_grouped_by_act_and_back(tmp_path: Path) -> None:
    """After the revision each line is what the records would be served as; taking it back gives the old bytes."""
    rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    numbers = range(1, 503)  # more than one page
    with rt.db.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "0001")
        rows = [{"id": f"r{number}", "position": number, "line": old_line(number)} for number in numbers]
        connection.execute(text(INSERT), rows)
        connection.commit()
        command.upgrade(alembic_config(connection), "0002")
        connection.commit()
        lines = connection.execute(text("SELECT line FROM synced_record ORDER BY position")).scalars().all()
        command.downgrade(alembic_config(connection), "0001")
        connection.commit()
        again = connection.execute(text("SELECT line FROM synced_record ORDER BY position")).scalars().all()
    rt.db.dispose()
    for number, line in zip(numbers, lines, strict=True):
        state = decode_state(line)
        place = Placement("420106", "d")
        assert line == encode_line("inspection", f"r{number}", number, place, state, conflicts(state, {}))
        assert {name: [entry.at_ms for entry in state.live(name)] for name in FIELDS} == {"notes": [5, 7], "scene": [7]}
    assert again == [old_line(number) for number in numbers]
