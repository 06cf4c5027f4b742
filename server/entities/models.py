"""Tables of regulated entities."""

from sqlalchemy import Float, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base


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
