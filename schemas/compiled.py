"""Checks compiled from marshmallow schemas: they say "certainly good" in microseconds, or nothing at all.

The schemas stay the contract. A compiled check answers True only where the schema would accept the value; whatever it
does not know (a class of field, a hook, an unusual type) it leaves to the schema, which alone says what is wrong. So a
gap here costs time and never correctness. Classes are compared exactly: a subclass may mean something else.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from schemas.kinds.base import (
    ID,
    INSTANT,
    MAX_SEQUENCE,
    MAX_SET_ELEMENTS,
    SEQUENCE,
    UNSTORABLE,
    DotText,
    Instant,
    SetChange,
    StrictFloat,
    StrictInteger,
    Text,
    Whole,
)

Check = Callable[[Any], bool]
"""True: the schema accepts the value. False: ask the schema."""
Matches = Callable[[str], object]
ESCAPED = rb"\u"
"""In what JSON spells a character that has no other spelling, U+0000 among them."""
_encode = msgspec.json.Encoder().encode


def compile_schema(schema: Schema, *, partial: bool) -> Check:
    """Return the check of what `schema.load` accepts; the schema's own `unknown` applies.

    Args:
        schema: the schema; everything in it that is not known here makes the check answer False.
        partial: whether required members may be missing, as in a change of some fields.
    """
    if any(schema._hooks.values()) or schema.unknown not in (EXCLUDE, RAISE) or schema.many:
        return _never
    checks = {name: _field(field) if _plain(name, field) else _never for name, field in schema.fields.items()}
    required = frozenset(name for name, field in schema.fields.items() if field.required and not partial)
    kinds = {name: _text_type(field) for name, field in schema.fields.items() if _plain(name, field)}
    texts = {name: kind for name, kind in kinds.items() if kind is not None}
    return _members(checks, required, texts, strict=schema.unknown == RAISE)


def _plain(name: str, field: fields.Field[Any]) -> bool:
    """Whether a field is loaded under its own name and by its class and validators alone."""
    return field.data_key in (None, name) and not (field.dump_only or field.pre_load or field.post_load)


def _members(checks: Mapping[str, Check], required: frozenset[str], texts: Mapping[str, Any], *, strict: bool) -> Check:
    """Return the check of an object's members; those in `texts`, given with their types, are looked at all at once."""
    others = {name: check for name, check in checks.items() if name not in texts}
    are_texts = _texts(texts)

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if type(value) is not dict or not required <= value.keys():
            return False
        if strict and not value.keys() <= checks.keys():
            return False
        for name in others.keys() & value.keys():
            if not others[name](value[name]):
                return False
        return are_texts(value)

    return check


def _text_type(field: fields.Field[Any]) -> Any:  # noqa: ANN401 - a type as msgspec takes it
    """Return the type of an ordinary text whose validators msgspec knows, or None: then :func:`_field` checks it."""
    if type(field) is not Text or field.allow_none or len(field.validators) != 1:
        return None
    (validator,) = field.validators
    if type(validator) is validate.OneOf and all(type(choice) is str for choice in validator.choices):
        return Literal[tuple(validator.choices)]
    if type(validator) is validate.Length and validator.equal is None:
        return Annotated[str, msgspec.Meta(min_length=validator.min, max_length=validator.max)]
    return None


def _texts(types: Mapping[str, Any]) -> Check:
    """Return the check of all texts of an object: msgspec compares types and lengths without a call for each.

    Encoded again, what cannot be stored would show: U+0000 by its escape, a lone surrogate by a refusal.
    """
    if not types:
        return lambda _: True
    shape = msgspec.defstruct("Texts", [(name, kind, msgspec.UNSET) for name, kind in types.items()])

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        try:
            msgspec.convert(value, shape)
            return ESCAPED not in _encode(value)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            return False

    return check


def _never(_: Any) -> bool:  # noqa: ANN401 - any JSON value
    return False


def _field(field: fields.Field[Any]) -> Check:
    """Return the check of one field: its class, then its validators; null only where it is allowed."""
    make = _CLASSES.get(type(field))
    if make is None:
        return _never
    of_class, validators = make(field), tuple(_validator(one) for one in field.validators)
    none = bool(field.allow_none)
    if len(validators) == 1 and not none:
        only = validators[0]
        return lambda value: of_class(value) and only(value)

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if value is None:
            return none
        return of_class(value) and all(good(value) for good in validators)

    return check


def _text(_: Any) -> Check:  # noqa: ANN401 - the field
    unstorable = UNSTORABLE.search
    return lambda value: type(value) is str and unstorable(value) is None


def _instant(_: Any) -> Check:  # noqa: ANN401 - the field
    matches: Matches = INSTANT.regex.match  # type: ignore[assignment]

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if type(value) is not str or matches(value) is None:
            return False
        try:
            return datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            return False

    return check


def _dot(_: Any) -> Check:  # noqa: ANN401 - the field
    is_sequence: Matches = SEQUENCE.fullmatch
    is_id: Matches = ID.regex.match  # type: ignore[assignment]

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if type(value) is not str:
            return False
        journal, _, seq = value.partition(":")
        return is_sequence(seq) is not None and int(seq) <= MAX_SEQUENCE and is_id(journal) is not None

    return check


def _whole(field: Whole) -> Check:
    if field.many or field.unknown is not None:
        return _never
    return compile_schema(field.schema, partial=False)


def _list(field: fields.List[Any]) -> Check:
    inner = _field(field.inner)
    return lambda value: type(value) is list and all(inner(element) for element in value)


def _set_change(field: SetChange) -> Check:
    element, dot = _field(field.element), _dot(None)

    def check(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if type(value) is not dict or not value.keys() <= {"add", "remove"}:
            return False
        added, removed = value.get("add", []), value.get("remove", [])
        if type(added) is not list or type(removed) is not list:
            return False
        if len(added) > MAX_SET_ELEMENTS or len(removed) > MAX_SET_ELEMENTS:
            return False
        return all(element(one) for one in added) and all(dot(one) for one in removed)

    return check


_CLASSES: dict[type, Callable[[Any], Check]] = {
    Text: _text,
    Instant: _instant,
    DotText: _dot,
    StrictInteger: lambda _: lambda value: type(value) is int,
    StrictFloat: lambda _: lambda value: type(value) is float and value - value == 0,
    Whole: _whole,
    fields.List: _list,
    SetChange: _set_change,
}
"""How each known class of field is checked."""


def _validator(validator: Any) -> Check:  # noqa: ANN401 - any of marshmallow's validators
    if type(validator) is validate.OneOf and all(type(choice) is str for choice in validator.choices):
        return _one_of(validator.choices)
    if type(validator) is validate.Regexp:
        matches = validator.regex.match
        return lambda value: matches(value) is not None
    if type(validator) is validate.Length:
        low = validator.min or 0 if validator.equal is None else validator.equal
        high = validator.max if validator.equal is None else validator.equal
        top = float("inf") if high is None else high
        return lambda value: low <= len(value) <= top

    def ask(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        try:
            validator(value)
        except ValidationError:
            return False
        return True

    return ask


def _one_of(choices: Iterable[str]) -> Check:
    known = frozenset(choices)
    return lambda value: value in known
