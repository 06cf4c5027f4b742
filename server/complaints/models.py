"""The table of complaints."""

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime
from server.registers.models import NamesEntity, Registered


class Complaint(Registered, NamesEntity, Base):
    """A complaint or report (投诉举报), as it was taken in."""

    __tablename__ = "complaint"
    __table_args__ = (Index(None, "sector", "region"),)

    number: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    channel: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(200))
    content: Mapped[str | None] = mapped_column(Text)
    respondent: Mapped[str] = mapped_column(String(200))
    """Who is complained about, as the complainant says."""
    entity: Mapped[str | None] = mapped_column(String(18), index=True)
    """Unified social credit code of who is meant, where that is known."""
    item: Mapped[str | None] = mapped_column(String(14))
    """Code of the supervision item it falls under."""
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    complainant: Mapped[str | None] = mapped_column(String(64))
    phone: Mapped[str | None] = mapped_column(String(32))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(16), default="received", server_default="received")
