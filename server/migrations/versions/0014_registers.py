"""The further base registers; the field-level audit, which the database keeps from being changed."""

import json
from typing import Any

import sqlalchemy as sa
import sqlalchemy.orm
from alembic import op

from server.audit.models import DROP_APPEND_ONLY, MAKE_APPEND_ONLY
from server.registers.models import DROP_SEARCH, MAKE_SEARCH
from server.registers.search import name_words, region_words
from server.registers.service import INDEX

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

LABEL, CODE, PERSON = sa.String(200), sa.String(16), sa.String(64)


def upgrade() -> None:
    """Apply the revision."""
    for name, length in (("region", 9), ("department", 32), ("fields", 1000)):
        op.add_column("audit_event", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    _name_fields()
    op.add_column("officer", sa.Column("revision", sa.Integer(), nullable=False, server_default="1"))
    op.create_index(op.f("ix_entity_sector_region_status"), "entity", ["sector", "region", "status"])
    _make_registers()
    for statement in (*MAKE_SEARCH[_dialect()], *MAKE_APPEND_ONLY[_dialect()]):
        op.execute(statement)
    _index_officers()


def _dialect() -> str:
    return op.get_bind().dialect.name


def _name_fields() -> None:
    """Bring the names of changed fields out of the events that tell of some."""
    bind = op.get_bind()
    events = sa.table("audit_event", sa.column("id"), sa.column("detail"), sa.column("fields"))
    query = sa.select(events.c.id, events.c.detail).where(sa.cast(events.c.detail, sa.Text).contains('"fields"'))
    for event, detail in bind.execute(query).all():
        told = json.loads(detail) if isinstance(detail, str) else detail
        names = sorted({part for name in told.get("fields", {}) for part in (name, name.partition(".")[0])})
        text = f",{','.join(names)},"[:1000] if names else ""
        bind.execute(events.update().where(events.c.id == event).values(fields=text))


def _index_officers() -> None:
    """Let the officers of before be found by fragments."""
    bind = op.get_bind()
    names = ("id", "name", "certificate_number", "region")
    officers = sa.table("officer", *(sa.column(name) for name in names))
    found = bind.execute(sa.select(officers)).all()
    with sa.orm.Session(bind) as session:
        INDEX.add(
            session,
            [
                (
                    one.id,
                    {"kofficer"} | region_words(one.region) | name_words(one.name) | name_words(one.certificate_number),
                )
                for one in found
            ],
        )


def _kept(*columns: sa.Column[Any]) -> tuple[sa.schema.SchemaItem, ...]:
    """The columns that all registers share, and those of one."""
    at = sa.DateTime(timezone=True)
    return (
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False, server_default=""),
        sa.Column("revision", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("created_at", at, nullable=False),
        sa.Column("changed_at", at, nullable=False),
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("kind", CODE, nullable=False),
        *columns,
    )


def _make(table: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        *_kept(*columns),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("number", name=op.f(f"uq_{table}_number")),
    )
    op.create_index(op.f(f"ix_{table}_region"), table, ["region"])
    if any(column.name == "entity" for column in columns):
        op.create_index(op.f(f"ix_{table}_entity"), table, ["entity"])


def _text(
    name: str, kind: sa.types.TypeEngine[Any] | None = None, *, null: bool = True, default: str | None = None
) -> sa.Column[Any]:
    return sa.Column(name, kind if kind is not None else sa.Text(), nullable=null, server_default=default)


def _make_registers() -> None:
    active = _text("status", CODE, null=False, default="active")
    _make(
        "complaint",
        _text("channel", CODE, null=False), _text("subject", LABEL, null=False), _text("content"),
        _text("respondent", LABEL, null=False), _text("entity", sa.String(18)), _text("item", sa.String(14)),
        _text("sector", sa.String(32), null=False, default=""), _text("complainant", PERSON),
        _text("phone", sa.String(32)),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        _text("state", CODE, null=False, default="received"),
    )  # fmt: skip
    op.create_index(op.f("ix_complaint_sector_region"), "complaint", ["sector", "region"])
    _make(
        "credit_record",
        _text("entity", sa.String(18), null=False), _text("title", LABEL, null=False),
        _text("authority", LABEL, null=False), _text("basis", LABEL), _text("content"),
        sa.Column("decided_on", sa.Date(), nullable=False), sa.Column("valid_until", sa.Date()), active._copy(),
    )  # fmt: skip
    _make(
        "key_subject",
        _text("entity", sa.String(18), null=False), _text("name", LABEL, null=False),
        _text("sector", sa.String(32), null=False, default=""), _text("site", LABEL), _text("grounds"),
        _text("contact", PERSON), _text("phone", sa.String(32)), sa.Column("listed_on", sa.Date(), nullable=False),
        active._copy(),
    )  # fmt: skip
    _make(
        "knowledge",
        _text("title", LABEL, null=False), _text("sector", sa.String(32), null=False, default=""),
        _text("issuer", LABEL), sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("effective_until", sa.Date()), _text("content"), _text("source", LABEL), active._copy(),
    )  # fmt: skip
    op.create_table(
        "knowledge_link",
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("checklist", sa.String(36), nullable=False),
        sa.Column("line", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("number", "checklist", "line", name=op.f("pk_knowledge_link")),
    )
    op.create_index(op.f("ix_knowledge_link_checklist"), "knowledge_link", ["checklist"])


def downgrade() -> None:
    """Undo the revision."""
    for statement in (*DROP_APPEND_ONLY[_dialect()], *DROP_SEARCH[_dialect()]):
        op.execute(statement)
    for table in ("knowledge_link", "knowledge", "key_subject", "credit_record", "complaint"):
        op.drop_table(table)
    op.drop_index(op.f("ix_entity_sector_region_status"), "entity")
    op.drop_column("officer", "revision")
    for column in ("fields", "department", "region"):
        op.drop_column("audit_event", column)
