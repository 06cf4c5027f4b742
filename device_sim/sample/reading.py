"""What every reader of foreign data needs: a report of skipped rows, and text that is safe to store.

Rows are never dropped unseen: each one that is left out is counted under a reason, and the first few are
kept with their place so that a person can look them up.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LINE_LIMIT_BYTES = 4 * 1024 * 1024
"""A longer line is skipped: the longest real one is below 40 kB."""

LINES_PER_FILE_LIMIT = 2_000_000
"""Reading of one file stops here, with a counted reason."""

DETAILS_LIMIT = 100
"""Skipped rows kept with their place; beyond that only the counts grow."""

TEXT_LIMIT_CHARS = 500
"""Free text of foreign data is cut here; the longest real item text has 107 characters."""


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """One row that was left out: the file's name, the line (1-based; 0 = the file as a whole) and why."""

    file: str
    line: int
    reason: str


@dataclass(slots=True)
class SkipReport:
    """Counts of rows left out, by reason, and the first `DETAILS_LIMIT` of them."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: list[SkippedRow] = field(default_factory=list)

    def add(self, file: str, line: int, reason: str) -> None:
        """Count one row that was left out."""
        self.counts[reason] += 1
        if len(self.rows) < DETAILS_LIMIT:
            self.rows.append(SkippedRow(file, line, reason))

    @property
    def total(self) -> int:
        """All rows left out."""
        return self.counts.total()


def clean_text(value: object, limit_chars: int = TEXT_LIMIT_CHARS) -> str:
    """Text of a foreign field: unpaired surrogates replaced, control characters and runs of blanks made one blank.

    Anything that is not a string gives the empty string. The result has at most `limit_chars` characters.
    """
    if not isinstance(value, str):
        return ""
    paired = value.encode("utf-8", "replace").decode("utf-8")
    printable = "".join(character if character.isprintable() else " " for character in paired)
    return " ".join(printable.split())[:limit_chars].rstrip()


def gzip_lines(path: Path, report: SkipReport) -> Iterator[tuple[int, bytes]]:
    """The lines of a gzip file as (number from 1, bytes without the line end), in bounded memory.

    A file that is cut, damaged or no gzip at all ends the iteration at the damage and is reported, never raised.
    """
    number = 0
    try:
        with gzip.open(path, "rb") as stream:
            while line := stream.readline(LINE_LIMIT_BYTES + 1):
                number += 1
                if number > LINES_PER_FILE_LIMIT:
                    report.add(path.name, number, "too-many-lines")
                    return
                if len(line) > LINE_LIMIT_BYTES:
                    report.add(path.name, number, "line-too-long")
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(LINE_LIMIT_BYTES)
                    continue
                yield number, line.rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error):
        report.add(path.name, number, "damaged-gzip")
