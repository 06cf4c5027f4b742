"""Behaviors and the rectification loop."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from server.records.lines import decode_state, view_of

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)
TABLES = (
    "rectification", "publication", "process_recording", "legal_reviewer", "legal_review", "proceeding_step",
    "proceeding",
)  # fmt: skip


def upgrade() -> None:
    """Apply the revision."""
    _make_proceedings()
    _make_institutions()
    _make_rectification()
    _enter_publications()
    _enter_rectifications()


def _make_proceedings() -> None:
    op.create_table(
        "proceeding",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("entity", sa.String(36), nullable=True),
        sa.Column("inspection", sa.String(36), nullable=True),
        sa.Column("inspection_number", sa.String(64), nullable=False),
        sa.Column("rectification", sa.String(36), nullable=True),
        sa.Column("content", JSON, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proceeding")),
    )
    for name in ("entity", "inspection", "rectification"):
        op.create_index(op.f(f"ix_proceeding_{name}"), "proceeding", [name])
    op.create_index(op.f("ix_proceeding_state_region"), "proceeding", ["state", "region"])
    op.create_table(
        "proceeding_step",
        sa.Column("proceeding", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        _of_proceeding("proceeding_step"),
        sa.PrimaryKeyConstraint("proceeding", "number", name=op.f("pk_proceeding_step")),
    )


def _of_proceeding(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["proceeding"], ["proceeding.id"], name=op.f(f"fk_{table}_proceeding"))


def _make_institutions() -> None:
    op.create_table(
        "legal_review",
        sa.Column("proceeding", sa.String(36), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("criteria", JSON, nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("requested_by", sa.String(64), nullable=False),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("reviewer", sa.String(64), nullable=True),
        sa.Column("certificate_number", sa.String(64), nullable=True),
        sa.Column("opinion", sa.String(2), nullable=True),
        sa.Column("reason", sa.String(1000), nullable=True),
        sa.Column("decided_at", INSTANT, nullable=True),
        _of_proceeding("legal_review"),
        sa.PrimaryKeyConstraint("proceeding", "round", name=op.f("pk_legal_review")),
    )
    op.create_table(
        "legal_reviewer",
        sa.Column("account", sa.String(36), nullable=False),
        sa.Column("certificate_number", sa.String(64), nullable=False),
        sa.Column("valid_until", INSTANT, nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["account.id"], name=op.f("fk_legal_reviewer_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_legal_reviewer")),
        sa.UniqueConstraint("certificate_number", name=op.f("uq_legal_reviewer_certificate_number")),
    )
    op.create_table(
        "process_recording",
        sa.Column("proceeding", sa.String(36), nullable=False),
        sa.Column("scene", sa.String(32), nullable=False),
        sa.Column("evidence", sa.String(36), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        _of_proceeding("process_recording"),
        sa.PrimaryKeyConstraint("proceeding", "scene", "evidence", name=op.f("pk_process_recording")),
    )
    op.create_table(
        "publication",
        sa.Column("behavior", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("overdue_at", INSTANT, nullable=True),
        sa.Column("published_at", INSTANT, nullable=True),
        sa.Column("actor", sa.String(64), nullable=True),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("behavior", name=op.f("pk_publication")),
        sa.UniqueConstraint("number", name=op.f("uq_publication_number")),
    )
    op.create_index(op.f("ix_publication_state_due_on"), "publication", ["state", "due_on"])
    op.create_index(op.f("ix_publication_published_at"), "publication", ["published_at"])


def _make_rectification() -> None:
    op.create_table(
        "rectification",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("inspection", sa.String(36), nullable=True),
        sa.Column("entity", sa.String(36), nullable=True),
        sa.Column("answer", sa.String(36), nullable=True),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("requirement", sa.Text(), nullable=True),
        sa.Column("deadline", INSTANT, nullable=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("task", sa.String(36), nullable=True),
        sa.Column("recheck", sa.String(36), nullable=True),
        sa.Column("proceeding", sa.String(36), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("overdue_at", INSTANT, nullable=True),
        sa.Column("closed_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rectification")),
    )
    for name in ("inspection", "entity", "task", "recheck", "region"):
        op.create_index(op.f(f"ix_rectification_{name}"), "rectification", [name])
    op.create_index(op.f("ix_rectification_state_deadline"), "rectification", ["state", "deadline"])


def _enter_publications() -> None:
    """What was written before there were deadlines is due on the day of the revision."""
    statement = sa.text(
        "INSERT INTO publication (behavior, kind, region, department, number, state, since, due_on, provisional, reason) "
        "SELECT id, kind, region, department, number, 'due', :today, :today, false, '' "
        "FROM behavior WHERE status = 'current'"
    )
    op.execute(statement.bindparams(sa.bindparam("today", datetime.now(UTC).date(), sa.Date())))


def _enter_rectifications() -> None:
    bind, meta = op.get_bind(), sa.MetaData()
    records = sa.Table("synced_record", meta, autoload_with=bind)
    table = sa.Table("rectification", meta, autoload_with=bind)
    wanted = sa.select(records.c.id, records.c.region, records.c.department, records.c.line)
    for record in bind.execute(wanted.where(records.c.kind == "rectification", ~records.c.deleted)).mappings().all():
        fields = view_of("rectification", decode_state(record["line"]))
        deadline = fields.get("deadline")
        row = {name: fields.get(name) for name in ("inspection", "entity", "answer", "requirement", "outcome")}
        row |= {name: record[name] for name in ("id", "region", "department")}
        row |= {"state": fields.get("status") or "ordered", "created_at": datetime.now(UTC)}
        row["deadline"] = datetime.fromisoformat(deadline).astimezone(UTC) if deadline else None
        bind.execute(table.insert().values(**row))


def downgrade() -> None:
    """Undo the revision."""
    for table in TABLES:
        op.drop_table(table)
