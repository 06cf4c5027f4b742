"""Taking ratings in and adding them up. What is kept are counts: no rating can be taken back to a visit or a person."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import Table, select, update
from sqlalchemy.orm import Session

from server.db.engine import insert_ignore
from server.errors import Problem
from server.ratings.models import RatingCount, SpentRatingToken
from server.ratings.tokens import read_token
from server.runtime import Runtime

MIN_STARS, MAX_STARS = 1, 5
MAX_ISSUES = 6
MIN_SHOWN = 5
"""Fewest ratings of a department that are shown: fewer could tell who said what."""
REQUESTS_PER_S = 1
"""Ratings that one address may send, a second, to each server process."""
SPENT, COUNTS = cast(Table, SpentRatingToken.__table__), cast(Table, RatingCount.__table__)


def rate(session: Session, rt: Runtime, token: str, stars: int, issues: Sequence[str]) -> None:
    """Count a rating, once for each token.

    Raises:
        Problem: `invalid-field` for a token that is not good; `conflict` for one that was used.
    """
    read = read_token(rt, token)
    if insert_ignore(session, SPENT, [{"digest": read.digest}]) != 1:
        raise Problem("conflict", field="token", detail="评价码已使用 / the token was used")
    said = [("stars", str(stars)), *(("issue", code) for code in dict.fromkeys(issues))]
    for measure, value in said:
        key = {"department": read.department, "month": read.month, "measure": measure, "value": value}
        insert_ignore(session, COUNTS, [key | {"count": 0}])
        counted = update(COUNTS).values(count=COUNTS.c.count + 1)
        for name, part in key.items():
            counted = counted.where(COUNTS.c[name] == part)
        session.execute(counted)


@dataclass
class DepartmentRating:
    """What was said of a department."""

    department: str
    ratings: int = 0
    stars: int = 0
    issues: dict[str, int] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of the stars, to one digit."""
        return round(self.stars / self.ratings, 1) if self.ratings else 0.0


def ratings(session: Session) -> list[DepartmentRating]:
    """Return the ratings by department; departments with fewer than :data:`MIN_SHOWN` are left out."""
    found: dict[str, DepartmentRating] = {}
    for row in session.execute(select(RatingCount).order_by(RatingCount.department)).scalars():
        one = found.setdefault(row.department, DepartmentRating(row.department))
        if row.measure == "stars":
            one.ratings += row.count
            one.stars += row.count * int(row.value)
        else:
            one.issues[row.value] = one.issues.get(row.value, 0) + row.count
    return [one for one in found.values() if one.ratings >= MIN_SHOWN]
