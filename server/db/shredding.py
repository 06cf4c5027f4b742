"""Making deleted bytes really go: databases leave them in free pages and logs until something overwrites them."""

from sqlalchemy.orm import Session

from server.db.engine import Database


def overwrite_what_is_deleted(session: Session) -> None:
    """Let SQLite overwrite with zeros everything that this transaction deletes or replaces; see :func:`shred`."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def shred(database: Database, *tables: str) -> None:
    """After the commit: empty SQLite's write-ahead log into the database, or let PostgreSQL free the old rows.

    PostgreSQL overwrites freed space as it is used again; rewriting the files at once, and ageing out its own
    write-ahead log, are the operator's (docs/operations.md).
    """
    with database.engine.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        outside = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in tables:
            outside.exec_driver_sql(f"VACUUM {table}")
