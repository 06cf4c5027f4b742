"""Columns that the tables of registers share, and the index of two-character fragments behind their search.

The index is no table that SQLAlchemy knows: FTS5 on SQLite, a `tsvector` with a GIN index on PostgreSQL. Both hold
pairs of neighbouring characters, since Chinese has no spaces and two characters are a usual question.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, Integer, MetaData, String, Table, event
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


def search_ddl(table: str, subject: str) -> dict[str, tuple[str, ...]]:
    """Return by dialect the statements that make a search index; `subject` is the column of what is found."""
    return {
        "sqlite": (
            f"""CREATE VIRTUAL TABLE IF NOT EXISTS {table} USING fts5(grams, {subject} UNINDEXED, content='',
            contentless_delete=1, contentless_unindexed=1, detail=none, tokenize='unicode61')""",
        ),
        "postgresql": (
            f"""CREATE TABLE IF NOT EXISTS {table}
            (rowid BIGSERIAL PRIMARY KEY, {subject} VARCHAR(36), grams TSVECTOR NOT NULL)""",
            f"CREATE INDEX IF NOT EXISTS ix_{table}_{subject} ON {table} ({subject})",
            f"CREATE INDEX IF NOT EXISTS ix_{table}_grams ON {table} USING gin (grams)",
        ),
    }


def drop_ddl(table: str) -> dict[str, tuple[str, ...]]:
    """Return by dialect the statement that drops a search index."""
    return dict.fromkeys(("sqlite", "postgresql"), (f"DROP TABLE IF EXISTS {table}",))


def attach(target: Table | MetaData, make: dict[str, tuple[str, ...]], drop: dict[str, tuple[str, ...]]) -> None:
    """Let a search index come and go with a table, or with all of them."""
    for moment, statements in (("after_create", make), ("before_drop", drop)):
        for dialect, texts in statements.items():
            for text in texts:
                ddl: Any = DDL(text)  # type: ignore[no-untyped-call]
                event.listen(target, moment, ddl.execute_if(dialect=dialect))


MAKE_SEARCH, DROP_SEARCH = search_ddl("register_search", "subject"), drop_ddl("register_search")
attach(Base.metadata, MAKE_SEARCH, DROP_SEARCH)


class Registered:
    """Columns of every record of a register."""

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    region: Mapped[str] = mapped_column(String(9), index=True)
    department: Mapped[str] = mapped_column(String(32), default="", server_default="")
    """Department code; empty: the business of every department."""
    revision: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    """Rises with each change: who changes a record names the one that was looked at."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class NamesEntity:
    """Records that name an entity by its code, in the column `entity`: a merge renames it there."""


class OfEntity(NamesEntity):
    """Columns of records that are about an entity and lie where it lies: they move when it moves."""

    entity: Mapped[str] = mapped_column(String(18), index=True)
    """Unified social credit code of the entity."""
