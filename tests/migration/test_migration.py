"""Migrations: the migrated schema is the schema of the models, and migrating is safe to repeat."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from server.config import load_settings
from server.migrating import migrate_database
from server.runtime import Runtime, build_runtime
from server.tables import METADATA


def _is_modelled(name: str | None, kind: str, _parents: object) -> bool:
    """The search indexes, the tables FTS5 keeps for them, and the partitions of readings are made by statements of
    their own, outside the models.
    """
    return kind != "table" or not (name or "").startswith(("entity_search", "register_search", "reading_"))


def _differences(rt: Runtime) -> list[object]:
    with rt.db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_modelled})
        return list(compare_metadata(context, METADATA))


def test_migrated_schema_is_the_models_schema(tmp_path: Path) -> None:
    """Running all revisions on an empty SQLite database leaves nothing to generate."""
    rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    assert migrate_database(rt) == migrate_database(rt) != "none"
    assert _differences(rt) == []
    rt.db.dispose()


def test_migrated_schema_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """The same on a real PostgreSQL."""
    settings = {"FIELDPROOF_HOME": str(tmp_path), "FIELDPROOF_DATABASE_URL": postgres_url}
    rt = build_runtime(load_settings(settings))
    migrate_database(rt)
    assert _differences(rt) == []
    METADATA.drop_all(rt.db.engine)
    with rt.db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    rt.db.dispose()
