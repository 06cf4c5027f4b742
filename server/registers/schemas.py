"""The shapes in which a register goes over HTTP, made from its definition."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields, validate

from schemas.codes import code_table
from server.audit.masking import mask
from server.registers.definition import Register
from server.registers.rows import day_of, plain
from server.registers.search import MAX_FRAGMENT_CHARS
from server.registers.tables import FORMATS
from server.web.paging import PageQuery

MAX_REASON_CHARS = 1_000
REASON = validate.Length(1, MAX_REASON_CHARS)


class ImportQuery(Schema):
    """Why, and whether to change nothing."""

    reason = fields.String(required=True, validate=REASON)
    dry_run = fields.Boolean(load_default=False)


class ExportQuery(Schema):
    """As what, and from where on: a file ends after its most rows, and says in `X-Next-After` where the next begins."""

    format = fields.String(load_default="csv", validate=validate.OneOf(tuple(FORMATS)))
    after = fields.String(load_default="", validate=validate.Length(max=64))


class RegisterReasonBody(Schema):
    """Why."""

    reason = fields.String(required=True, validate=REASON)


class RefusalView(Schema):
    """A row that was not taken."""

    row = fields.Integer()
    field = fields.String()
    reason = fields.String()


class ImportView(Schema):
    """What became of the rows of an import."""

    dry_run = fields.Boolean()
    rows = fields.Integer()
    entered = fields.Integer()
    changed = fields.Integer()
    unchanged = fields.Integer()
    refused = fields.Integer()
    by_field = fields.Dict()
    refusals = fields.List(fields.Nested(RefusalView))


class LabelView(Schema):
    """The label of a code on the day of its record."""

    code = fields.String()
    zh = fields.String()
    en = fields.String()


def shown(register: Register, row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of the register
    """Return a record as people see it: personal values masked, codes with the labels of the record's day."""
    values = {name: plain(getattr(row, name)) for name in register.fields}
    view = {name: mask(value) if name in register.personal else value for name, value in values.items()}
    for name in ("id", "region", "department", "revision", "created_at", "changed_at"):
        if hasattr(row, name):
            view[name] = plain(getattr(row, name))
    return view | {"labels": labels_of(register, row)}


def labels_of(register: Register, row: Any) -> dict[str, list[dict[str, str]]]:  # noqa: ANN401 - a row of the register
    """Return the labels of a record's codes as they were on the record's day."""
    day = day_of(register, row)
    found: dict[str, list[dict[str, str]]] = {}
    for name, table in register.coded.items():
        value = getattr(row, name)
        codes = value if isinstance(value, list) else [value] if value else []
        entries = [(code, code_table(table).of_time(code, day)) for code in codes]
        found[name] = [
            {"code": code, "zh": entry.zh if entry else code, "en": entry.en if entry else code}
            for code, entry in entries
        ]
    return {name: labels for name, labels in found.items() if labels}


def _named(name: str, doc: str, members: Mapping[str, Any], base: type[Schema] = Schema) -> type[Schema]:
    return type(name, (base,), {"__doc__": doc, **members})


class Shapes:
    """The schemas of one register's requests and replies."""

    def __init__(self, register: Register) -> None:
        """Make them."""
        name, reason = register.kind.title().replace("_", ""), fields.String(required=True, validate=REASON)
        loaded = {one: register.schema().fields[one] for one in register.fields}
        self.body = _named(f"{name}Body", f"A new {register.en}, and why it is entered.", {**loaded, "reason": reason})
        self.change = _named(
            f"{name}ChangeBody",
            "What changes, on which revision, and why.",
            {**register.change_fields, "revision": fields.Integer(required=True), "reason": reason},
        )
        self.query = _named(
            f"{name}Query",
            "Which records: `q` is a fragment (two characters or more) or a whole key; the rest are exact.",
            {
                "q": fields.String(load_default="", validate=validate.Length(max=MAX_FRAGMENT_CHARS)),
                "region": fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z")),
                **{one: fields.String(load_default="", validate=validate.Length(max=64)) for one in register.filtered},
            },
            PageQuery,
        )
        same = {one: fields.Raw(metadata={"description": f"{f.metadata['zh']} / {f.metadata['en']}"})
                for one, f in register.fields.items()}  # fmt: skip
        kept = {
            "id": fields.String(), "region": fields.String(), "department": fields.String(),
            "revision": fields.Integer(), "created_at": fields.String(), "changed_at": fields.String(),
            "labels": fields.Dict(keys=fields.String(), values=fields.List(fields.Nested(LabelView))),
        }  # fmt: skip
        self.view = _named(f"{name}View", f"A {register.en} as people see it.", {**same, **kept})
        self.page = _named(
            f"{name}Page",
            "A page of records; `next` is the `after` of the next page, empty at the end.",
            {"records": fields.List(fields.Nested(self.view)), "next": fields.String()},
        )
        self.personal = _named(
            f"{name}Personal", "The personal values of a record.", {one: fields.String() for one in register.personal}
        )
