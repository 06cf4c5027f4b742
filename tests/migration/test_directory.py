"""Migrating a directory of before versions were kept: nothing is lost, the newest version is in force, and back."""

from pathlib import Path

from alembic import command
from sqlalchemy import Engine, text

from server.config import load_settings
from server.migrating import alembic_config
from server.runtime import build_runtime

CODE = "11420000MB1A2B3C4D1001"
ROWS = (
    "INSERT INTO supervision_item (id, code, name, basis, department) VALUES ('i', '42000000000001', '甲', '法', '部')",
    *(
        f"INSERT INTO checklist (id, code, version, name, item, sub_items) "
        f"""VALUES ('c{n}', '{CODE}', {n}, '单', 'i', '[{{"number": "1", "text": "问{n}"}}]')"""
        for n in (1, 2)
    ),
)


def goes_up_and_down(engine: Engine) -> None:
    """Enter rows at the former revision, migrate, look, and take it back."""
    with engine.connect() as connection:
        config = alembic_config(connection)
        command.upgrade(config, "0008")
        for row in ROWS:
            connection.exec_driver_sql(row)
        connection.commit()
        command.upgrade(config, "head")
        connection.commit()
        query = "SELECT register, code, version, state, subject FROM directory_version ORDER BY register, version"
        assert [tuple(row) for row in connection.execute(text(query))] == [
            ("checklists", CODE, 1, "superseded", "c1"),
            ("checklists", CODE, 2, "published", "c2"),
            ("items", "42000000000001", 1, "published", "i"),
        ]
        statuses = connection.execute(text("SELECT version, status FROM checklist ORDER BY version")).all()
        assert [tuple(row) for row in statuses] == [(1, "superseded"), (2, "published")]
        bodies = connection.execute(text("SELECT uscc, department, region FROM supervision_body")).all()
        assert [tuple(row) for row in bodies] == [(CODE[:18], "部", "420000")]
        command.downgrade(config, "0008")
        connection.commit()
        assert connection.execute(text("SELECT name FROM supervision_item")).scalars().all() == ["甲"]
        assert len(connection.execute(text("SELECT id FROM checklist")).all()) == 2


def test_on_sqlite(tmp_path: Path) -> None:
    """On SQLite."""
    rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    goes_up_and_down(rt.db.engine)
    rt.db.dispose()


def test_on_postgresql(tmp_path: Path, postgres_database_url: str) -> None:
    """On PostgreSQL."""
    settings = {"FIELDPROOF_HOME": str(tmp_path), "FIELDPROOF_DATABASE_URL": postgres_database_url}
    rt = build_runtime(load_settings(settings))
    goes_up_and_down(rt.db.engine)
    rt.db.dispose()
