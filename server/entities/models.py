"""Tables of regulated entities, and the index behind the search for a fragment of a name.

The search index is no table that SQLAlchemy knows: FTS5 on SQLite, a `tsvector` with a GIN index on PostgreSQL. Both
hold pairs of neighbouring characters, since Chinese has no spaces and two characters are a usual question.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, Float, ForeignKey, String, event
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime

MAKE_SEARCH = {
    "sqlite": (
        """CREATE VIRTUAL TABLE entity_search USING fts5(grams, entity UNINDEXED, content='', contentless_delete=1,
        contentless_unindexed=1, detail=none, tokenize='unicode61')""",
    ),
    "postgresql": (
        "CREATE TABLE entity_search (rowid BIGSERIAL PRIMARY KEY, entity VARCHAR(36), grams TSVECTOR NOT NULL)",
        "CREATE INDEX ix_entity_search_entity ON entity_search (entity)",
        "CREATE INDEX ix_entity_search_grams ON entity_search USING gin (grams)",
    ),
}
DROP_SEARCH = {"sqlite": ("DROP TABLE entity_search",), "postgresql": ("DROP TABLE entity_search",)}


class Entity(Base):
    """A regulated entity (监管对象)."""

    __tablename__ = "entity"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    nature: Mapped[str] = mapped_column(String(1))
    """1 citizen, 2 legal person, 3 other."""
    uscc: Mapped[str] = mapped_column(String(18), unique=True)
    registered_address: Mapped[str] = mapped_column(String(200))
    operating_address: Mapped[str] = mapped_column(String(200))
    region: Mapped[str] = mapped_column(String(9), index=True)
    lat: Mapped[float] = mapped_column(Float)
    lon: Mapped[float] = mapped_column(Float)
    datum: Mapped[str] = mapped_column(String(16))
    entity_type: Mapped[str] = mapped_column(String(2), default="01", server_default="01")
    """Code of the table `entity_type`."""
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    """Code of the table `sector`; empty: not sorted yet."""
    status: Mapped[str] = mapped_column(String(8), default="active", server_default="active")
    """active, closed, or merged (into another)."""
    risk: Mapped[str] = mapped_column(String(1), default="B", server_default="B")
    """Code of the table `risk_grade`."""
    credit: Mapped[str] = mapped_column(String(1), default="B", server_default="B")
    """Code of the table `credit_grade`."""
    merged_into: Mapped[str | None] = mapped_column(String(36), index=True)


class EntityGrade(Base):
    """One change of a risk or credit grade; rows are only ever added."""

    __tablename__ = "entity_grade"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entity.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    """risk or credit."""
    before: Mapped[str] = mapped_column(String(1))
    grade: Mapped[str] = mapped_column(String(1))
    reason: Mapped[str] = mapped_column(String(1000))
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


for _dialect, _statements in MAKE_SEARCH.items():
    for _statement in _statements:
        _ddl: Any = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(Entity.__table__, "after_create", _ddl.execute_if(dialect=_dialect))
for _dialect, _statements in DROP_SEARCH.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(Entity.__table__, "before_drop", _ddl.execute_if(dialect=_dialect))
