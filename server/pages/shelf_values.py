"""The shapes in which the register pages get a list, a record and its history."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

PAGE = 50
"""Records in one page of a list."""


@dataclass(frozen=True)
class Choice:
    """A filter of a list: its name, label, and the codes that it offers with theirs."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """One record in a list."""

    id: str
    title: str
    key: str
    cells: tuple[str, ...]
    region: str


@dataclass(frozen=True)
class Step:
    """One entry of a record's history."""

    at: datetime
    actor: str
    action: str
    reason: str
    changes: tuple[tuple[str, str, str], ...]
    """Field, old and new value."""


@dataclass(frozen=True)
class Sheet:
    """One record with its history, newest first."""

    title: str
    key: str
    region: str
    facts: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]


def said(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return an old or new value as it is shown in a history."""
    if value in (None, "", []):
        return "—"
    return "、".join(str(one) for one in value) if isinstance(value, list) else str(value)
