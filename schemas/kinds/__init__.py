"""The synced kinds: what an act may change, each field with its merge policy beside it.

`KINDS` is the whole list. A handheld in another language can be written from these schemas and docs/protocol.md.
"""

from schemas.kinds.base import Kind, KindSchema, Writer, personal_fields, policy_table
from schemas.kinds.field_work import AnswerSchema, EvidenceSchema, InspectionSchema, RectificationSchema, TaskSchema
from schemas.kinds.reference import ChecklistSchema, EntitySchema, ItemSchema, OfficerSchema

__all__ = ["KINDS", "Kind", "KindSchema", "Writer", "personal_fields", "policy_table"]

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("task", TaskSchema, Writer.BOTH),
        Kind("inspection", InspectionSchema, Writer.BOTH),
        Kind("answer", AnswerSchema, Writer.BOTH),
        Kind("evidence", EvidenceSchema, Writer.DEVICE),
        Kind("rectification", RectificationSchema, Writer.BOTH),
        Kind("entity", EntitySchema, Writer.OFFICE),
        Kind("item", ItemSchema, Writer.OFFICE),
        Kind("checklist", ChecklistSchema, Writer.OFFICE),
        Kind("officer", OfficerSchema, Writer.OFFICE),
    )
}
