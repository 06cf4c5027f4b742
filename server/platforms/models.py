"""The table of third-party platforms and key firms."""

from datetime import date

from sqlalchemy import Date, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base
from server.registers.models import OfEntity, Registered


class KeySubject(Registered, OfEntity, Base):
    """A third-party platform or key firm (第三方平台、重点企业); it lies where its entity lies."""

    __tablename__ = "key_subject"

    number: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    sector: Mapped[str] = mapped_column(String(32), default="", server_default="")
    site: Mapped[str | None] = mapped_column(String(200))
    """Address on the internet."""
    grounds: Mapped[str | None] = mapped_column(Text)
    """Why it is watched closely."""
    contact: Mapped[str | None] = mapped_column(String(64))
    phone: Mapped[str | None] = mapped_column(String(32))
    listed_on: Mapped[date] = mapped_column(Date)
    status: Mapped[str] = mapped_column(String(16), default="active", server_default="active")
