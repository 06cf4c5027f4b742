"""Tables of ratings. Nothing in them leads to an inspection, a firm or a person: tokens are only marked as used up."""

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base


class SpentRatingToken(Base):
    """A token that was used: its hash, and nothing else."""

    __tablename__ = "spent_rating_token"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)


class RatingCount(Base):
    """How often a department's visits of a month were rated so."""

    __tablename__ = "rating_count"

    department: Mapped[str] = mapped_column(String(32), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    """Of the visit: YYYY-MM."""
    measure: Mapped[str] = mapped_column(String(8), primary_key=True)
    """stars or issue."""
    value: Mapped[str] = mapped_column(String(20), primary_key=True)
    """1 to 5, or a code of the table `rating_issue`."""
    count: Mapped[int] = mapped_column(Integer)
