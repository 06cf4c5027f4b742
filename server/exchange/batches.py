"""National batch numbers: YYYYMMDD and five digits, derived from the proof log, so that they never change.

A leaf belongs to the day (in China) on which the first head over it was signed, and to the batch of that day that its
place falls into: every batch has the same number of leaves, but for the last one of a day.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.exchange import BATCH_LEAVES
from server.clock import CHINA, from_ms, to_ms
from server.prooflog.models import Head


class BatchNumbers:
    """Batch numbers of some leaves, with two queries and one more for each day among them."""

    def __init__(self, session: Session, indexes: Sequence[int]) -> None:
        self._session = session
        self._first_of_day: dict[int, int] = {}
        self._sizes: list[int] = []
        self._times_ms: list[int] = []
        if indexes:
            last = select(func.min(Head.size)).where(Head.size > max(indexes)).scalar_subquery()
            query = select(Head.size, Head.at_ms).where(Head.size > min(indexes), Head.size <= last)
            for size, at_ms in session.execute(query.order_by(Head.size)):
                self._sizes.append(size)
                self._times_ms.append(at_ms)

    def of(self, index: int) -> str:
        """Return the batch number of one of the leaves."""
        at_ms = self._times_ms[bisect_right(self._sizes, index)]
        day = from_ms(at_ms).astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
        return f"{day:%Y%m%d}{(index - self._first(day)) // BATCH_LEAVES + 1:05d}"

    def _first(self, day: datetime) -> int:
        """Index of the first leaf of a day: the size of the last head signed before it."""
        start_ms = to_ms(day.astimezone(UTC))
        if start_ms not in self._first_of_day:
            query = select(func.max(Head.size)).where(Head.at_ms < start_ms)
            self._first_of_day[start_ms] = self._session.execute(query).scalar_one_or_none() or 0
        return self._first_of_day[start_ms]
