"""On PostgreSQL: registers are searched by their index, themes come out at the base, and the trail refuses changes."""

import random
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from server.analytics.themes import themes
from server.audit.service import ChangeQuestion, find_changes
from server.complaints.register import COMPLAINTS, KEEPER
from server.config import load_settings
from server.db.engine import Database
from server.directory.models import SupervisionItem
from server.directory.service import add_item
from server.directory.versions import find_versions
from server.entities.models import Entity
from server.entities.service import add_entities
from server.records.service import start_epoch
from server.registers import service
from server.registers.rows import load_row
from server.runtime import Runtime
from server.tables import METADATA
from server.web.principal import Principal
from tests.conftest import FakeClock
from tests.integration.registers.conftest import PAIRS, ROWS, complaint
from tests.integration.registers.test_themes import fill

CALLER = Principal("op", "operator", "42", "")


def test_registers_on_postgresql(tmp_path: Path, clock: FakeClock, postgres_database_url: str) -> None:
    """The same answers as on SQLite."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path), "FIELDPROOF_DATABASE_URL": postgres_database_url})
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    rt = Runtime(settings, database, clock, random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, rt)
        add_entities(session, rt, [Entity(**row) for row in ROWS], author="op")
        for item, _ in PAIRS:
            add_item(session, rt, SupervisionItem(**item), author="op")
        fill(session, rt)
        rows = [load_row(COMPLAINTS, complaint(f"TS-{n}", subject=f"第{n}件食品投诉")) for n in range(5)]
        made = service.enter(session, rt, KEEPER, rows, author="op", reason="登记")
        service.change(session, rt, KEEPER, made[0], {"subject": "药品投诉"}, author="op", reason="补正")
    with database.read() as session:
        for q, count in (("食品", 4), ("药品", 1), ("ts-3", 1), ("没有", 0)):
            assert len(service.find(session, COMPLAINTS, CALLER, service.Question(q, "420106"))[0]) == count, q
        found = {one.register: one for one in themes(session, CALLER)}
        assert all(one.reconciled for one in found.values())
        assert (found["entities"].total, found["complaints"].sectors["market"]) == (39, 5)
        changes = find_changes(session, CALLER, ChangeQuestion(kind="complaint", field="subject"), limit=9)
        assert [one.action for one in changes][:1] == ["complaint.change"]
        assert len(find_versions(session, "items", exact={"sector": "drugs"})) == 1
    for statement in ("UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
            session.execute(text(statement))
    database.dispose()
