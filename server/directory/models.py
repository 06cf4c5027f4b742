"""Tables of the directory."""

from typing import Any

from sqlalchemy import Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue


class SupervisionItem(Base):
    """A supervision item (监管事项)."""

    __tablename__ = "supervision_item"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(String(14), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    basis: Mapped[str] = mapped_column(Text)
    department: Mapped[str] = mapped_column(String(32))
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    """Code of the table `sector`; empty: not sorted yet."""


class Checklist(Base):
    """One version of a checklist; versions are never changed."""

    __tablename__ = "checklist"
    __table_args__ = (UniqueConstraint("code", "version"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(String(60))
    version: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(200))
    item: Mapped[str] = mapped_column(String(36), index=True)
    sub_items: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
