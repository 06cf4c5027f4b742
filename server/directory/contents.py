"""What a version of an item or checklist holds, checked by one schema for drafts and imports; what two differ in."""

from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from schemas.codes import Code
from schemas.identifiers import check_checklist_code, check_item_code
from schemas.kinds.base import MAX_LABEL_CHARS, MAX_TEXT_CHARS, Text
from schemas.kinds.reference import MAX_SUB_ITEMS, SubItemSchema
from server.errors import Problem

ITEMS, CHECKLISTS = "items", "checklists"
REGISTERS = {ITEMS: "item", CHECKLISTS: "checklist"}
"""The registers, and the synced kind that each is published as."""
Content = Mapping[str, Any]
NAME = validate.Length(1, MAX_LABEL_CHARS)
LABELS = {
    "name": ("名称", "name"), "item_type": ("类型", "type"), "basis": ("依据", "basis"),
    "department": ("部门", "department"), "level": ("行使层级", "level"), "sector": ("领域", "sector"),
    "item": ("监管事项", "item"), "sub_items": ("检查项", "line"), "text": ("检查内容", "content"),
    "method": ("检查方式", "method"), "penalty_basis": ("处罚依据", "penalty basis"),
    "outcomes": ("结果选项", "results"), "asked_when": ("提问条件", "condition"), "evidence": ("所需证据", "evidence"),
    "order": ("顺序", "order"), "knowledge": ("监管知识", "knowledge"),
}  # fmt: skip


class ItemContent(Schema):
    """A supervision item without its code."""

    name = Text(required=True, validate=NAME)
    item_type = Code("behavior_kind", required=True)
    basis = Text(required=True, validate=validate.Length(1, MAX_TEXT_CHARS))
    department = Text(required=True, validate=validate.Length(1, 32))
    level = Code("exercise_level", required=True)
    sector = Code("sector")


class LineContent(SubItemSchema):
    """A line of a checklist; new ones must say by which law they ask."""

    basis = Text(required=True, validate=NAME)


class ChecklistContent(Schema):
    """A checklist without its code; `item` is the code of its supervision item."""

    name = Text(required=True, validate=NAME)
    item = Text(required=True)
    sub_items = fields.List(fields.Nested(LineContent), required=True, validate=validate.Length(1, MAX_SUB_ITEMS))

    @validates_schema
    def _conditions(self, data: Content, **_: Any) -> None:  # noqa: ANN401 - marshmallow's
        """Numbers are distinct; a condition names an earlier line and one of the results that line can have."""
        earlier: dict[str, Any] = {}
        for place, line in enumerate(data["sub_items"]):
            fault = {}
            if line["number"] in earlier:
                fault = {"number": ["编号重复 / the number stands twice"]}
            elif condition := line.get("asked_when"):
                known = earlier.get(condition["number"])
                if known is None or condition["outcome"] not in known.get("outcomes", [condition["outcome"]]):
                    fault = {"asked_when": ["须为前面检查项的结果 / not a result of an earlier line"]}
            if fault:
                raise ValidationError({"sub_items": {place: fault}})
            earlier[line["number"]] = line


SCHEMAS: dict[str, Schema] = {ITEMS: ItemContent(), CHECKLISTS: ChecklistContent()}


def tidy(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with trimmed texts, without empty members: what means the same is written the same."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [tidy(one) for one in value]
    if isinstance(value, Mapping):
        kept = {name: tidy(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one not in ("", None, [])}
    return value


def check_content(register: str, code: str, content: Content) -> dict[str, Any]:
    """Return the content tidied, after checking it with its code.

    Raises:
        Problem: `invalid-field` naming the field by its path.
    """
    reason = check_item_code(code) if register == ITEMS else check_checklist_code(code)
    if reason:
        raise Problem("invalid-field", field="code", detail=reason)
    tidied: dict[str, Any] = tidy(content)
    if messages := SCHEMAS[register].validate(tidied):
        path, detail = next(_leaves(messages))
        raise Problem("invalid-field", field=path, detail=detail)
    return tidied


def _leaves(messages: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - marshmallow's messages
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, " ".join(str(one) for one in messages)


def differences(before: Content, after: Content) -> list[dict[str, Any]]:
    """Return what changed between two contents, field by field; the lines of checklists are told by their numbers.

    Each change has its `path`, `before` and `after` (null: was not, or is no more there) and a readable `text`.
    """
    old, new = dict(_flat(before)), dict(_flat(after))
    changes = []
    for path in sorted(old.keys() | new.keys(), key=lambda path: [(len(part), part) for part in path]):
        if old.get(path) != new.get(path):
            label = _label(path)
            said = f"{label[0]} / {label[1]}: {_say(old.get(path))} → {_say(new.get(path))}"
            named = ".".join(path)
            changes.append({"path": named, "before": old.get(path), "after": new.get(path), "text": said})
    kept = [line["number"] for line in before.get("sub_items", ()) if ("sub_items", line["number"], "text") in new]
    order = [line["number"] for line in after.get("sub_items", ()) if line["number"] in kept]
    if kept != order:
        said = f"检查项顺序 / order of the lines: {', '.join(kept)} → {', '.join(order)}"
        changes.append({"path": "sub_items.order", "before": kept, "after": order, "text": said})
    return changes


def _flat(content: Content) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in content.items():
        if name != "sub_items":
            yield (name,), value
            continue
        for line in value:
            yield from (
                (("sub_items", line["number"], part), inner) for part, inner in line.items() if part != "number"
            )


def _label(path: tuple[str, ...]) -> tuple[str, str]:
    zh, en = LABELS[path[-1]]
    return (zh, en) if len(path) == 1 else (f"检查项 {path[1]} {zh}", f"line {path[1]}, {en}")


def _say(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return "（无 none）"
    if isinstance(value, Mapping):
        return f"{value['number']}={value['outcome']}"
    return "、".join(value) if isinstance(value, list) else f"“{value}”"
