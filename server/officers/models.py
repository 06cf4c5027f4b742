"""Tables of officers."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


class Officer(Base):
    """A certified inspector (执法人员)."""

    __tablename__ = "officer"
    __table_args__ = (Index(None, "department", "region"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    certificate_number: Mapped[str] = mapped_column(String(64), unique=True)
    certificate_valid_until: Mapped[datetime] = mapped_column(UtcDateTime)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
