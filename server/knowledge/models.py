"""The table of knowledge."""

from datetime import date

from sqlalchemy import Date, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base
from server.registers.models import Registered


class Knowledge(Registered, Base):
    """A law, standard, case or guide (法律法规、标准、典型案例、执法指引)."""

    __tablename__ = "knowledge"

    number: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(200))
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    issuer: Mapped[str | None] = mapped_column(String(200))
    effective_from: Mapped[date] = mapped_column(Date)
    effective_until: Mapped[date | None] = mapped_column(Date)
    content: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str | None] = mapped_column(String(200))
    """Where the text was taken from."""
    status: Mapped[str] = mapped_column(String(16), default="active", server_default="active")


class KnowledgeLink(Base):
    """A line of a published checklist that points to a piece of knowledge."""

    __tablename__ = "knowledge_link"

    number: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the knowledge."""
    checklist: Mapped[str] = mapped_column(String(36), primary_key=True, index=True)
    """Id of the version of the checklist."""
    line: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Number of the line."""
