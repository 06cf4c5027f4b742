"""Tables of supervision behaviors. Rows are only ever added: a correction is a new version."""

from datetime import datetime

from sqlalchemy import Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


class Behavior(Base):
    """One version of a supervision behavior."""

    __tablename__ = "behavior"
    __table_args__ = (Index(None, "region", "created_at"), Index(None, "status"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[str] = mapped_column(String(64), index=True)
    status: Mapped[str] = mapped_column(String(12))
    """current, or superseded by a later version."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    entity: Mapped[str | None] = mapped_column(String(36), index=True)
    inspection: Mapped[str | None] = mapped_column(String(36), index=True)
    result: Mapped[str] = mapped_column(String(32))
    inspected_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    line: Mapped[bytes] = mapped_column(LargeBinary)
    """The content as it is served and hashed: compact JSON with a salt and the national fields but personal ones."""
    personal: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The personal fields, with a salt of their own; none for firms, and none once they were erased."""
    erased_by: Mapped[str | None] = mapped_column(String(36))
    """The order by which they were erased."""
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    """What the proof log holds of this version."""
