"""Tables of officers and of whom they must keep away from."""

from datetime import UTC, datetime

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Officer(Base):
    """A certified inspector (执法人员)."""

    __tablename__ = "officer"
    __table_args__ = (Index(None, "department", "region"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    certificate_number: Mapped[str] = mapped_column(String(64), unique=True)
    certificate_valid_until: Mapped[datetime] = mapped_column(UtcDateTime)
    certificate_valid_from: Mapped[datetime] = mapped_column(
        UtcDateTime, default=LONG_AGO, server_default="1970-01-01 00:00:00"
    )
    scope: Mapped[list[str]] = mapped_column(JsonValue, default=list, server_default="[]")
    """Sectors the certificate covers (codes of the table `sector`); empty: all of the department's."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    revision: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    """Rises with each change."""


class OfficerAvoidance(Base):
    """An officer who must keep away from an entity or from another officer (回避)."""

    __tablename__ = "officer_avoidance"

    officer: Mapped[str] = mapped_column(ForeignKey("officer.id"), primary_key=True)
    other: Mapped[str] = mapped_column(String(36), primary_key=True, index=True)
    """Id of the entity or officer."""
    reason: Mapped[str] = mapped_column(String(1000))
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
