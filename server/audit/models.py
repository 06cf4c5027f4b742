"""Tables of the audit trail. The database itself refuses to change or delete a row."""

from datetime import datetime
from typing import Any

from sqlalchemy import DDL, BigInteger, Index, Integer, String, event
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

REFUSAL = "the audit trail is append-only"
MAKE_APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER audit_event_no_{verb} BEFORE {verb} ON audit_event BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        for verb in ("update", "delete")
    ),
    "postgresql": (
        f"""CREATE OR REPLACE FUNCTION audit_event_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$""",
        """CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
        FOR EACH STATEMENT EXECUTE FUNCTION audit_event_append_only()""",
    ),
}
DROP_APPEND_ONLY = {
    "sqlite": ("DROP TRIGGER audit_event_no_update", "DROP TRIGGER audit_event_no_delete"),
    "postgresql": (
        "DROP TRIGGER audit_event_append_only ON audit_event",
        "DROP FUNCTION audit_event_append_only()",
    ),
}


class AuditEvent(Base):
    """One act of a person or program; rows are only ever added."""

    __tablename__ = "audit_event"
    __table_args__ = (Index(None, "subject_kind", "subject_id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64), index=True)
    subject_kind: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[str] = mapped_column(String(128))
    detail: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    """Further facts; of a change `reason`, and `fields`: by name of each field that changed, [old value, new value]."""
    region: Mapped[str] = mapped_column(String(9), default="", server_default="")
    """Division of what was acted on; empty: of none, or not told."""
    department: Mapped[str] = mapped_column(String(32), default="", server_default="")
    fields: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    """Names of the fields that changed, each between commas (`,name,region,`): what a question for one looks at."""


for _dialect, _statements in MAKE_APPEND_ONLY.items():
    for _statement in _statements:
        _ddl: Any = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(AuditEvent.__table__, "after_create", _ddl.execute_if(dialect=_dialect))
