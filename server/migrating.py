"""Creating the schema and bringing it up to date, with Alembic."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from server.config import load_secret
from server.records.service import start_epoch
from server.runtime import Runtime

SECRETS = ("jwt", "cursor")
"""Secrets that all programs share, made before any of them runs."""


def migrate_database(rt: Runtime) -> str:
    """Run all revisions that are missing, then make the server's first epoch and secrets. Returns the revision."""
    with rt.db.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "head")
        connection.commit()
        revision = current_revision(connection)
    with rt.db.write() as session:
        start_epoch(session, rt)
    for name in SECRETS:
        load_secret(rt.settings, name)
    return revision


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration over an open connection."""
    config = Config()
    config.set_main_option("script_location", str(files("server") / "migrations"))
    config.attributes["connection"] = connection
    return config


def current_revision(connection: Connection) -> str:
    """Return the revision the database is at, or `none`."""
    return MigrationContext.configure(connection).get_current_revision() or "none"
