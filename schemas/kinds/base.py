"""What a synced kind is: a marshmallow schema whose fields carry a merge policy, a version, and who may write it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

SCHEMA_VERSION = 1
"""Version of all kinds below; acts of a newer version keep their unknown fields on the round trip."""
MAX_TEXT_CHARS = 4_000
MAX_LABEL_CHARS = 200
MAX_SET_ELEMENTS = 64
UNSTORABLE = re.compile("[\\0\ud800-\udfff]")
SEQUENCE = re.compile(r"[1-9][0-9]{0,15}")
MAX_SEQUENCE = (1 << 53) - 1
"""Largest number of an act, the same as in the sync algorithm: integers up to here survive every JSON reader."""
ID = validate.Regexp(r"\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", error="not an id")
INSTANT = validate.Regexp(
    r"\A(19|2[01])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])\Z",
    error="not an RFC 3339 instant of the years 1900 to 2199 with its offset",
)
HASH = validate.Regexp(r"\A[0-9a-f]{64}\Z", error="not 64 lower-case hexadecimal digits")
REGION = validate.Regexp(r"\A42[0-9]{4}([0-9]{3})?\Z", error="not a division code of Hubei (6 or 9 digits)")


class Writer(StrEnum):
    """Who may write a kind."""

    DEVICE = "device"
    OFFICE = "office"
    BOTH = "both"


def merged(policy: str, *, personal: bool = False, order: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the metadata that stands beside a field: its merge policy, and whether it is personal data."""
    return {"policy": policy, "personal": personal, "order": order}


class KindSchema(Schema):
    """Base of the synced kinds. Every field of a subclass has `metadata=merged(...)`."""


class Text(fields.String):
    """A text that every database can keep: without U+0000 and lone surrogates."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if UNSTORABLE.search(text):
            raise ValidationError("must not contain U+0000 or lone surrogates")
        return text


class StrictFloat(fields.Float):
    """A number as JSON has it; texts and true/false are refused."""

    def _validated(self, value: Any) -> float:  # noqa: ANN401 - any JSON value
        if isinstance(value, str):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Whole(fields.Nested):
    """A nested object that always needs all its required members, also where a kind is loaded with `partial=True`."""

    def _deserialize(self, value: Any, attr: Any, data: Any, partial: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401, ARG002 - marshmallow's
        return super()._deserialize(value, attr, data, partial=False, **kwargs)


class StrictInteger(fields.Integer):
    """A whole number as JSON has it; texts and true/false are refused."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - marshmallow's signature
        """Always strict."""
        super().__init__(strict=True, **kwargs)

    def _validated(self, value: Any) -> int:  # noqa: ANN401 - any JSON value
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Instant(fields.String):
    """An RFC 3339 instant with offset, kept as the text that was sent."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        text = super()._deserialize(value, attr, data, **kwargs)
        INSTANT(text)
        probe = fields.AwareDateTime(format="iso")
        probe.deserialize(text)
        return text


class DotText(fields.String):
    """The name of an act, `journal:seq`, in its one accepted spelling."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> str:  # noqa: ANN401 - marshmallow's
        text: str = super()._deserialize(value, attr, data, **kwargs)
        journal, _, seq = text.partition(":")
        if not SEQUENCE.fullmatch(seq) or int(seq) > MAX_SEQUENCE:
            raise ValidationError("not a dot")
        ID(journal)
        return text


DOT = DotText()


class SetChange(fields.Field[Any]):
    """A change of an add-wins set: `{"add": [elements], "remove": [dots]}`."""

    def __init__(self, element: fields.Field[Any], **kwargs: Any) -> None:  # noqa: ANN401 - marshmallow's signature
        """Take the field that checks each added element."""
        super().__init__(**kwargs)
        self.element = element

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:  # noqa: ANN401, ARG002 - marshmallow's
        if not isinstance(value, dict) or not value.keys() <= {"add", "remove"}:
            raise ValidationError('must be {"add": [...], "remove": [...]}')
        added, removed = value.get("add", []), value.get("remove", [])
        if not isinstance(added, list) or not isinstance(removed, list):
            raise ValidationError('"add" and "remove" must be lists')
        if len(added) > MAX_SET_ELEMENTS or len(removed) > MAX_SET_ELEMENTS:
            raise ValidationError(f"at most {MAX_SET_ELEMENTS} elements in one change")
        for element in added:
            self.element.deserialize(element)
        for dot in removed:
            DOT.deserialize(dot)
        return value


@dataclass(frozen=True)
class Kind:
    """A synced kind."""

    name: str
    schema: type[KindSchema]
    writer: Writer
    version: int = SCHEMA_VERSION


@cache
def policy_table(schema: type[KindSchema]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return for each field (rule, order) as declared beside it."""
    return {name: (field.metadata["policy"], tuple(field.metadata["order"])) for name, field in schema().fields.items()}


@cache
def personal_fields(schema: type[KindSchema]) -> frozenset[str]:
    """Return the names of the fields that hold personal data."""
    return frozenset(name for name, field in schema().fields.items() if field.metadata["personal"])
