"""A register as data. Beside each field of its schema stands what the platform needs to know about it.

From a definition follow the API, the import of CSV, JSON and XLSX, the export, search and filters, the refusal of
unknown references, the masking of personal values and the pages: a register is described once.
"""

import copy
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, validate, validates_schema
from marshmallow.fields import Field
from sqlalchemy.orm import InstrumentedAttribute, Session

from schemas.codes import Code
from schemas.divisions import check_known_region
from schemas.kinds.base import MAX_LABEL_CHARS, Text

BEIJING = timezone(timedelta(hours=8))
MAX_KEY_CHARS = 64
MAX_LISTED = 100
"""Most members of a field that is a list."""
FIRST_YEAR, LAST_YEAR = 1900, 2199


@dataclass(frozen=True)
class Reference:
    """What a field's values must be: a key that stands in another table."""

    to: str
    """What is referred to, as a refusal names it."""
    column: InstrumentedAttribute[Any]
    present: Callable[[Session, Collection[str]], Mapping[str, str]] | None = None
    """Looks up which of some keys lead on to another one now."""

    def now(self, session: Session, keys: Collection[str]) -> Mapping[str, str]:
        """Return by key which one it leads on to; a key that leads nowhere is left out."""
        return self.present(session, keys) if self.present is not None and keys else {}


def described(
    zh: str, en: str, *, personal: bool = False, filtered: bool = False, fixed: bool = False,
    refers: Reference | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the metadata that stands beside a field.

    Args:
        zh: its name.
        en: the same in English.
        personal: it holds personal data: masked wherever it is shown or kept beside the row.
        filtered: lists can be asked for one value of it.
        fixed: what it says when the record is entered stays.
        refers: what its values must be keys of.
    """
    return {"zh": zh, "en": en, "personal": personal, "filtered": filtered, "fixed": fixed, "refers": refers}


class Region(Text):
    """The code of a division of the province."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        text = super()._deserialize(value, attr, data, **kwargs)
        if reason := check_known_region(text):
            raise ValidationError(reason)
        return text


class Day(fields.Date):
    """A day of the years 1900 to 2199."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> date:  # noqa: ANN401 - marshmallow's
        day: date = super()._deserialize(value, attr, data, **kwargs)
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise ValidationError(f"not a day of the years {FIRST_YEAR} to {LAST_YEAR}")
        return day


class Moment(fields.AwareDateTime):
    """An instant with its offset; a day alone means its beginning in Beijing, or its end where `last` is set."""

    def __init__(self, *, last: bool = False, **kwargs: Any) -> None:  # noqa: ANN401 - marshmallow's signature
        """Say which end of a day is meant."""
        super().__init__(format="iso", **kwargs)
        self.last = last

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> datetime:  # noqa: ANN401 - marshmallow's
        try:
            day = date.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            day = None
        if day is not None:
            at = datetime.combine(day, time(23, 59, 59) if self.last else time(), BEIJING)
        else:
            at = super()._deserialize(value, attr, data, **kwargs)
        if not FIRST_YEAR <= at.year <= LAST_YEAR:
            raise ValidationError(f"not an instant of the years {FIRST_YEAR} to {LAST_YEAR}")
        return at.astimezone(UTC)


class OptionalCode(Code):
    """A code of a table, or an empty text."""

    def deserialize(self, value: Any, attr: Any = None, data: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's
        """Let an empty text pass."""
        return "" if value in ("", None) else super().deserialize(value, attr, data, **kwargs)


class Key(Text):
    """A key that stands in another table; where it may be absent, an empty text says so."""

    def deserialize(self, value: Any, attr: Any = None, data: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401 - marshmallow's
        """Take an empty text as none."""
        return super().deserialize(None if value == "" and self.allow_none else value, attr, data, **kwargs)


class Names(fields.List[Any]):
    """A list of distinct texts; one cell of a table holds them with `|` between them."""

    def __init__(self, inner: Any, **kwargs: Any) -> None:  # noqa: ANN401 - marshmallow's signature
        """Bound the number of members."""
        super().__init__(inner, validate=validate.Length(max=MAX_LISTED), **kwargs)

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401 - marshmallow's
        found: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        if len(set(found)) != len(found):
            raise ValidationError("a member stands twice")
        return found


class RegisterSchema(Schema):
    """Base of what people enter: every field has `metadata=described(...)`."""

    def fault(self, values: Mapping[str, Any]) -> tuple[str, str] | None:  # noqa: ARG002 - for registers with rules
        """Return the field and the reason if the values of a whole record break a rule between fields, or None."""
        return None

    @validates_schema
    def _rules(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow's
        """The rules between fields."""
        if found := self.fault(data):
            raise ValidationError(found[1], found[0])


class PlacedSchema(RegisterSchema):
    """What registers have whose records lie in a division of their own."""

    region = Region(required=True, metadata=described("行政区划", "division"))
    department = Text(
        load_default="", validate=validate.Length(max=32), metadata=described("部门", "department", filtered=True)
    )


@dataclass(frozen=True)
class Register:
    """One register."""

    name: str
    """In addresses and file names."""
    kind: str
    """Of its records, in the audit trail."""
    zh: str
    en: str
    model: type[Any]
    """Its table: `id`, `region`, `department`, `revision`, and a column for each field."""
    schema: type[RegisterSchema]
    key: str
    """The field by which a row of an import, or a reference, knows a record."""
    title: str
    """The field that names a record."""
    searched: tuple[str, ...]
    """The fields whose fragments find a record."""
    day: str = "created_at"
    """The column whose day says which labels of code tables were in force for a record."""
    shared: bool = False
    """Whether everybody may read it: law is the same for all. It is still changed by those in whose scope it lies."""
    follows_entity: bool = False
    """Whether a record lies where its entity lies."""

    @cached_property
    def loader(self) -> RegisterSchema:
        """The schema, ready to load rows."""
        return self.schema()

    @property
    def fields(self) -> Mapping[str, Field[Any]]:
        """The fields by name."""
        return self.loader.fields

    def _having(self, mark: str) -> frozenset[str]:
        return frozenset(name for name, field in self.fields.items() if field.metadata[mark])

    @cached_property
    def personal(self) -> frozenset[str]:
        """Names of the fields with personal data."""
        return self._having("personal")

    @cached_property
    def filtered(self) -> tuple[str, ...]:
        """Names of the fields that lists can be asked for."""
        return tuple(name for name, field in self.fields.items() if field.metadata["filtered"])

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Names of the fields that stay as they were entered; the key among them."""
        return self._having("fixed") | {self.key}

    @cached_property
    def references(self) -> Mapping[str, Reference]:
        """What fields refer to."""
        return {name: field.metadata["refers"] for name, field in self.fields.items() if field.metadata["refers"]}

    @cached_property
    def coded(self) -> Mapping[str, str]:
        """The code table of each field that has one."""
        found = {}
        for name, field in self.fields.items():
            inner = field.inner if isinstance(field, fields.List) else field
            if isinstance(inner, Code):
                found[name] = inner.table.name
        return found

    @cached_property
    def listed(self) -> frozenset[str]:
        """Names of the fields that are lists."""
        return frozenset(name for name, field in self.fields.items() if isinstance(field, fields.List))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of an exported table: personal values stay here."""
        return tuple(name for name in self.fields if name not in self.personal)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that a new record needs."""
        return tuple(name for name, field in self.fields.items() if field.required)

    @cached_property
    def change_fields(self) -> dict[str, Field[Any]]:
        """The fields that may change, none of them required."""
        loose = {}
        for name, field in self.schema().fields.items():
            if name not in self.fixed:
                one = copy.copy(field)
                one.required, one.load_default, one.allow_none = False, missing, one.allow_none or not field.required
                loose[name] = one
        return loose


def label(max_chars: int = MAX_LABEL_CHARS) -> list[validate.Validator]:
    """Return the bounds of a text that must be given: blanks say nothing."""
    return [validate.Length(1, max_chars), validate.Regexp(r".*\S", re.DOTALL, error="空白 / must not be blank")]


def record_number() -> Text:
    """Return the field of a record's number, by which imports and references know it."""
    return Text(required=True, validate=label(MAX_KEY_CHARS), metadata=described("编号", "number", fixed=True))


def reference(zh: str, en: str, to: Reference, *, required: bool = False, fixed: bool = False) -> Key:
    """Return the field of a key that another table must know."""
    metadata = described(zh, en, filtered=True, fixed=fixed, refers=to)
    length = validate.Length(1, MAX_KEY_CHARS)
    if required:
        return Key(required=True, validate=length, metadata=metadata)
    return Key(load_default=None, allow_none=True, validate=length, metadata=metadata)


def optional(zh: str, en: str, max_chars: int = MAX_LABEL_CHARS, *, personal: bool = False) -> Text:
    """Return the field of a text that may be absent."""
    length, metadata = validate.Length(max=max_chars), described(zh, en, personal=personal)
    return Text(load_default=None, allow_none=True, validate=length, metadata=metadata)


def sector() -> Code:
    """Return the field of the sector; empty: not sorted yet."""
    return OptionalCode("sector", load_default="", metadata=described("领域", "sector", filtered=True))


def standing() -> Code:
    """Return the field that says whether a record still stands: records are withdrawn, never deleted."""
    return Code("register_status", load_default="active", metadata=described("登记状态", "status", filtered=True))
