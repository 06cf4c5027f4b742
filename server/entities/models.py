"""Tables of regulated entities; with them comes the index behind the search for a fragment of a name."""

from datetime import datetime
from typing import cast

from sqlalchemy import Float, ForeignKey, Index, Integer, String, Table
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime
from server.registers.models import attach, drop_ddl, search_ddl

MAKE_SEARCH, DROP_SEARCH = search_ddl("entity_search", "entity"), drop_ddl("entity_search")


class Entity(Base):
    """A regulated entity (监管对象)."""

    __tablename__ = "entity"
    __table_args__ = (Index(None, "sector", "region", "status"),)

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
    revision: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    """Rises with each change."""


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


class EntityDoor(Base):
    """Which code an entity shows at its door."""

    __tablename__ = "entity_door"

    entity: Mapped[str] = mapped_column(ForeignKey("entity.id"), primary_key=True)
    serial: Mapped[int] = mapped_column(Integer)
    author: Mapped[str] = mapped_column(String(64))
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)


attach(cast(Table, Entity.__table__), MAKE_SEARCH, DROP_SEARCH)
