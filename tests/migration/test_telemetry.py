"""The revision of telemetry: it can be taken back, and what was stored before it gets its aggregates."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from server.config import load_settings
from server.migrating import alembic_config
from server.runtime import build_runtime


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_there_and_back(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """A reading survives both ways, and the tables of aggregates come and go."""
    env = {"FIELDPROOF_HOME": str(tmp_path)}
    if kind == "postgresql":
        env["FIELDPROOF_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    rt = build_runtime(load_settings(env))
    with rt.db.engine.connect() as connection:
        config = alembic_config(connection)
        command.upgrade(config, "0008")
        connection.execute(
            text(
                "INSERT INTO sensor (id, name, entity_id, region, department, lat, lon, datum, channels, mqtt_user, "
                "created_at) VALUES ('s', '', '', '', '', 0, 0, '', '{}', 's', '2026-01-01 00:00:00')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO reading (at, sensor_id, factor, kind, value, flag, valid, seq, received_at) "
                "VALUES (1362096000000000, 's', 1, 1, 4.0, 1, :yes, 1, 1362096000000000)"
            ),
            {"yes": True},
        )
        connection.commit()
        command.downgrade(config, "0007")
        connection.commit()
        command.upgrade(config, "0008")
        connection.commit()
        assert connection.execute(text("SELECT at, value FROM reading")).all() == [(1362096000000000, 4.0)]
        spans = connection.execute(text("SELECT tier, sensor_id, first, last FROM stale_span")).all()
        assert spans == [(1, "", 1362096000000000, 1362096000000000)]
    rt.db.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_rules_there_and_back(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """A rule of before goes on as a level in force; what only the newer schema can hold goes when it is taken back."""
    env = {"FIELDPROOF_HOME": str(tmp_path)}
    if kind == "postgresql":
        env["FIELDPROOF_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    rt = build_runtime(load_settings(env))
    rule = (
        "INSERT INTO rule_version (id, code, version, factor, unit, threshold, clear_level, window_hours, "
        "min_valid_hours, max_silence_hours, region, department, title_zh, title_en, basis, created_at{more}) "
        "VALUES ('{id}', '{id}', 1, 'SO2', 'ug/m3', 1, 1, 3, 3, 6, '', '', '', '', '', '2026-01-01 00:00:00'{values})"
    )
    shown = text("SELECT id, measure, category, status, window_hours, settings FROM rule_version")
    with rt.db.engine.connect() as connection:
        config = alembic_config(connection)
        command.upgrade(config, "0010")
        connection.execute(text(rule.format(id="old", more="", values="")))
        connection.commit()
        command.upgrade(config, "0011")
        connection.commit()
        (row,) = connection.execute(shown).all()
        assert (*row[:5], str(row[5])) == ("old", "level", "breach", "active", 3.0, "{}")
        connection.execute(text(rule.format(id="new", more=", measure", values=", 'flat'")))
        connection.commit()
        command.downgrade(config, "0010")
        connection.commit()
        assert connection.execute(text("SELECT id, window_hours FROM rule_version")).all() == [("old", 3)]
    rt.db.dispose()
