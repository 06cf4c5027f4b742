"""Tables of the directory: every version of items and checklists, what of them is published, and the bodies."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

IN_FORCE = text("state = 'published'")


class DirectoryVersion(Base):
    """One version of an item or checklist. Its content never changes; its state follows `directory.lifecycle`."""

    __tablename__ = "directory_version"
    __table_args__ = (
        UniqueConstraint("register", "code", "version"),
        Index(
            "uq_directory_version_in_force", "register", "code", unique=True,
            sqlite_where=IN_FORCE, postgresql_where=IN_FORCE,
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    register: Mapped[str] = mapped_column(String(16))
    """items or checklists."""
    code: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(200))
    content: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    """What `directory.contents` describes."""
    state: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(36), index=True)
    """Id of the published record: an item keeps its id through all versions, a checklist has one for each."""
    author: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reviewer: Mapped[str | None] = mapped_column(String(64))
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was superseded or withdrawn."""


class SupervisionBody(Base):
    """A body that implements checklists (实施机构)."""

    __tablename__ = "supervision_body"

    uscc: Mapped[str] = mapped_column(String(18), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    department: Mapped[str] = mapped_column(String(32))
    region: Mapped[str] = mapped_column(String(9))


class SupervisionItem(Base):
    """A supervision item (监管事项) as published last."""

    __tablename__ = "supervision_item"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(String(14), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    basis: Mapped[str] = mapped_column(Text)
    department: Mapped[str] = mapped_column(String(32))
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    """Code of the table `sector`; empty: not sorted yet."""
    item_type: Mapped[str] = mapped_column(String(16), default="inspection", server_default="inspection")
    """Code of the table `behavior_kind`."""
    level: Mapped[str] = mapped_column(String(16), default="province", server_default="province")
    """Code of the table `exercise_level`."""
    version: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    status: Mapped[str] = mapped_column(String(16), default="published", server_default="published")
    """published or withdrawn."""


class Checklist(Base):
    """One published version of a checklist; its content never changes."""

    __tablename__ = "checklist"
    __table_args__ = (UniqueConstraint("code", "version"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(String(60))
    version: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(200))
    item: Mapped[str] = mapped_column(String(36), index=True)
    sub_items: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
    status: Mapped[str] = mapped_column(String(16), default="published", server_default="published")
    """published, superseded or withdrawn."""
