"""What the conflict pages show: the list, and one conflict with its base, all its sides and the decision."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

REASON_MIN_CHARS = 2
REASON_MAX_CHARS = 2_000
LIST_LIMIT = 200


@dataclass(frozen=True)
class ConflictSide:
    """One of the values that stand against each other."""

    dot: str
    value: Any
    officer: str
    """Name of who wrote it; empty if unknown."""
    certificate: str
    device: str
    """Name of the handheld; empty for the office."""
    at: datetime
    """Corrected time, UTC."""
    deleted: bool = False


@dataclass(frozen=True)
class Decision:
    """What a person decided."""

    value: Any
    choice: str | None
    """Dot of the side that was chosen, None for another value."""
    by: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class ConflictView:
    """One conflict, ready to be shown."""

    id: str
    kind: str
    field: str
    record: str
    title: str
    region: str
    department: str
    status: str
    opened_at: datetime
    base: Any
    sides: tuple[ConflictSide, ...]
    options: tuple[str, ...]
    """Values of the field's code table; empty for free text."""
    decision: Decision | None
