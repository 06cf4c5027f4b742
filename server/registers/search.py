"""Finding records by a fragment of a text, in milliseconds on both databases.

An index holds pairs of neighbouring characters as words `x…`, the prefixes of the division code as words `r…`, and
where several registers share it, the kind as a word `k…`. A fragment is looked up by all its pairs together; what the
index finds is compared with the text itself by the caller. Words are spelled as hexadecimal code points, so that no
tokenizer has a say.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from server.errors import Problem

MIN_FRAGMENT_CHARS = 2
MAX_FRAGMENT_CHARS = 100
MIN_WINDOW = 50
"""Candidates that are compared at a time; at least so many, and as many as are asked for."""
MAX_WINDOWS = 100
"""After so many a search gives up: hardly a candidate has the pairs of a fragment and not the fragment."""
REGION_DIGITS = (2, 4, 6, 9)
Found = TypeVar("Found")


def fold(value: str) -> str:
    """Return a text as it is compared: lower case, without spaces."""
    return "".join(value.lower().split())


def name_words(value: str) -> set[str]:
    """Return the words of a text: its pairs of neighbouring characters."""
    return {_word(a, b) for a, b in pairwise(fold(value))}


@lru_cache(maxsize=65_536)
def _word(a: str, b: str) -> str:
    return f"x{ord(a):x}z{ord(b):x}"


def region_words(region: str) -> set[str]:
    """Return the words of a division code: province, city, county, township."""
    return {f"r{region[:digits]}" for digits in REGION_DIGITS if len(region) >= digits}


def asked_region(region: str) -> set[str]:
    """Return the word that a question for a region prefix adds, where the index has one."""
    return {f"r{region}"} if len(region) in REGION_DIGITS else set()


def check_fragment(q: str) -> None:
    """Refuse a fragment that no index can find.

    Raises:
        Problem: `invalid-field`.
    """
    if not MIN_FRAGMENT_CHARS <= len(fold(q)) <= MAX_FRAGMENT_CHARS:
        raise Problem("invalid-field", field="q", detail="two characters or more", limit=MAX_FRAGMENT_CHARS)


@dataclass(frozen=True)
class Index:
    """A search index; its words come from the caller."""

    table: str
    subject: str

    def add(self, session: Session, entries: Sequence[tuple[str, Iterable[str]]]) -> None:
        """Enter (id, words) of new records."""
        if not entries:
            return
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            insert = f"INSERT INTO {self.table} (grams, {self.subject}) VALUES (?, ?)"  # noqa: S608 - fixed texts
            connection.exec_driver_sql(insert, [(" ".join(words), subject) for subject, words in entries])
            return
        insert = (
            f"INSERT INTO {self.table} ({self.subject}, grams) "  # noqa: S608 - fixed texts
            "VALUES (:subject, array_to_tsvector(CAST(:grams AS text[])))"
        )
        connection.execute(text(insert), [{"subject": subject, "grams": sorted(words)} for subject, words in entries])

    def remove(self, session: Session, subject: str, words: Iterable[str]) -> None:
        """Take a record out; `words` are those it was entered with."""
        found = f"SELECT rowid FROM {self.table} WHERE {self._matches(session)} AND {self.subject} = :subject"  # noqa: S608
        values = {"match": _question(session, sorted(words)), "subject": subject}
        session.connection().execute(text(f"DELETE FROM {self.table} WHERE rowid IN ({found})"), values)  # noqa: S608

    def find(
        self, session: Session, words: Iterable[str], look_up: Callable[[Sequence[str]], dict[str, Found]], *,
        after: int = 0, limit: int = 50,
    ) -> list[tuple[int, Found]]:  # fmt: skip
        """Return what has all of the words, as (place, what was found), by place. The places only serve to go on.

        Args:
            session: any session.
            words: of the question.
            look_up: loads records by id, leaving out those that do not answer the question after all.
            after: place after which to go on.
            limit: most records.
        """
        query = text(
            f"SELECT rowid, {self.subject} FROM {self.table} "  # noqa: S608 - fixed texts
            f"WHERE {self._matches(session)} AND rowid > :after ORDER BY rowid LIMIT :window"
        )
        match, window = _question(session, sorted(words)), max(limit, MIN_WINDOW)
        found: list[tuple[int, Found]] = []
        for _ in range(MAX_WINDOWS):
            values = {"match": match, "after": after, "window": window}
            places = [(int(place), subject) for place, subject in session.connection().execute(query, values)]
            known = look_up([subject for _, subject in places])
            found += [(place, known[subject]) for place, subject in places if subject in known]
            if len(found) >= limit or len(places) < window:
                break
            after = places[-1][0]
        return found[:limit]

    def _matches(self, session: Session) -> str:
        if session.connection().dialect.name == "sqlite":
            return f"{self.table} MATCH :match"
        return "grams @@ CAST(:match AS tsquery)"


def _question(session: Session, words: Sequence[str]) -> str:
    return (" AND " if session.connection().dialect.name == "sqlite" else " & ").join(words)
