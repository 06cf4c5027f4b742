"""Code tables as data: one JSON file a table, every version of it kept, with Chinese and English labels.

A value outside its table is refused with the field named. A table changes by adding a version with the day it comes
into force; an old record keeps the label of its own day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from marshmallow import Schema, fields, validate

MAX_CODE_CHARS = 32
"""Longest code in any table."""

SchemaT = TypeVar("SchemaT", bound=Schema)
_FOLDER = files(__name__) / "tables"


class UnknownTable(LookupError):
    """there is no code table of that name"""


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code and its labels."""

    code: str
    zh: str
    en: str

    @property
    def label(self) -> str:
        """Chinese first, English second."""
        return self.zh if self.zh == self.en else f"{self.zh} / {self.en}"


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The entries in force from one day on, in their order."""

    version: int
    since: date
    entries: Mapping[str, CodeEntry]


@dataclass(frozen=True, slots=True)
class CodeTable:
    """A code table with all its versions, oldest first."""

    name: str
    zh: str
    en: str
    source: str
    versions: tuple[CodeVersion, ...]

    @property
    def current(self) -> CodeVersion:
        """The newest version."""
        return self.versions[-1]

    def in_force(self, day: date) -> CodeVersion:
        """The version in force on a day; before the first version's day the first one counts."""
        return next((version for version in reversed(self.versions) if version.since <= day), self.versions[0])

    def find(self, code: str, day: date | None = None) -> CodeEntry | None:
        """The entry of a code on a day (the newest version's without one), or None."""
        version = self.current if day is None else self.in_force(day)
        return version.entries.get(code)

    def of_time(self, code: str, day: date | None) -> CodeEntry | None:
        """The entry of a code in a record of a day: as it stood then, or for one that came later as it is now."""
        return self.find(code, day) or self.find(code)

    def label(self, code: str, day: date | None = None) -> str:
        """Label of a code for people; a code the table does not know is shown as it is."""
        entry = self.find(code, day)
        return code if entry is None else entry.label


@cache
def code_table(name: str) -> CodeTable:
    """The table of that name. Raises UnknownTable."""
    if name not in table_names():
        raise UnknownTable(name)
    document = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return parse_table(document)


@cache
def table_names() -> tuple[str, ...]:
    """Names of all tables, sorted."""
    found = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in found if name.endswith(".json")))


def parse_table(document: Mapping[str, Any]) -> CodeTable:
    """Build a table from its JSON document.

    Raises ValueError for a repeated or overlong code, an empty version, or versions out of order.
    """
    versions = tuple(_parse_version(version) for version in document["versions"])
    numbers = [version.version for version in versions]
    days = [version.since for version in versions]
    if numbers != list(range(1, len(versions) + 1)) or not versions or sorted(set(days)) != days:
        raise ValueError(f"code table {document['name']}: versions are out of order")
    return CodeTable(document["name"], document["zh"], document["en"], document["source"], versions)


def _parse_version(document: Mapping[str, Any]) -> CodeVersion:
    """Build one version and check its codes."""
    entries = [CodeEntry(entry["code"], entry["zh"], entry["en"]) for entry in document["entries"]]
    by_code = {entry.code: entry for entry in entries}
    if not entries or len(by_code) != len(entries) or any(not 0 < len(code) <= MAX_CODE_CHARS for code in by_code):
        raise ValueError("a code table version needs entries with distinct codes of limited length")
    return CodeVersion(document["version"], date.fromisoformat(document["from"]), by_code)


class Code(fields.String):
    """A marshmallow field whose value is a code of the current version of a table, see also :func:`of_their_days`."""

    def __init__(self, table: str, **kwargs: Any) -> None:  # noqa: ANN401 - passed on to marshmallow unchanged
        """Bind the field to the table of that name; the other arguments are those of `fields.String`."""
        self.table = code_table(table)
        super().__init__(validate=self._known(self.table.current.entries), **kwargs)

    def accept_of(self, days: Iterable[date]) -> None:
        """Accept the codes that were in force on some days as well."""
        entries = dict(self.table.current.entries)
        for day in days:
            entries |= {code: entry for code, entry in self.table.in_force(day).entries.items() if code not in entries}
        self.validators = [self._known(entries)]

    def _known(self, entries: Mapping[str, CodeEntry]) -> validate.OneOf:
        labels = [entry.label for entry in entries.values()]
        reason = f"不在代码表“{self.table.zh}”中 / not in the code table {self.table.name}"
        return validate.OneOf(list(entries), labels, error=reason)


def of_their_days(schema: SchemaT, days: Iterable[date]) -> SchemaT:
    """Let the codes of a schema's fields be those of a record of some days: what was true then may be said again.

    A record whose code has left its table since can be corrected, and imported again, without being rewritten.
    """
    for field in schema.fields.values():
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, Code):
            inner.accept_of(days)
    return schema
