"""What became of the rows of an import, told row by row."""

from dataclasses import dataclass, field

MAX_LISTED = 1_000
"""Refused rows that a report lists one by one; all are counted, by field."""


@dataclass(frozen=True)
class Refusal:
    """A row that was not taken: its number (the first row of data is 1), the field and why."""

    row: int
    field: str
    reason: str


@dataclass
class ImportReport:
    """What became of the rows. A dry run says the same and changes nothing."""

    dry_run: bool = False
    rows: int = 0
    entered: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    by_field: dict[str, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, row: int, name: str, reason: str) -> None:
        """Count a refused row, and list it while there is room."""
        self.refused += 1
        self.by_field[name] = self.by_field.get(name, 0) + 1
        if len(self.refusals) < MAX_LISTED:
            self.refusals.append(Refusal(row, name, reason))
