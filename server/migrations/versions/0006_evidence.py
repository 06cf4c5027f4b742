"""Evidence: concatenation, derivatives, pictures that look alike, legal holds, retention."""

import sqlalchemy as sa
from alembic import op

from server.db.base import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

EVIDENCE_TIMES = ("derived_at", "closed_at", "sealed_at", "erased_at")


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("evidence_uploads") as table:
        table.add_column(sa.Column("concat", sa.Text()))
    with op.batch_alter_table("evidence") as table:
        for name in EVIDENCE_TIMES:
            table.add_column(sa.Column(name, UtcDateTime()))
    op.create_index("ix_evidence_sha256", "evidence", ["sha256"])
    for index, column, open_end in (
        ("ix_evidence_underived", "examined_at", "derived_at"),
        ("ix_evidence_unsealed", "closed_at", "sealed_at"),
    ):
        where = sa.text(f"{open_end} IS NULL")
        op.create_index(index, "evidence", [column], sqlite_where=where, postgresql_where=where)
    with op.batch_alter_table("evidence_blobs") as table:
        table.add_column(sa.Column("phash", sa.String(16)))
        table.add_column(sa.Column("doomed_at", UtcDateTime()))
        table.add_column(sa.Column("destroyed_at", UtcDateTime()))
        table.create_index(op.f("ix_evidence_blobs_doomed_at"), ["doomed_at"])
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "evidence_picture_bands",
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("band", "value", "sha256", name=op.f("pk_evidence_picture_bands")),
    )
    op.create_table(
        "evidence_derivatives",
        sa.Column("evidence", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["evidence"], ["evidence.id"], name=op.f("fk_evidence_derivatives_evidence_evidence")),
        sa.PrimaryKeyConstraint("evidence", "kind", name=op.f("pk_evidence_derivatives")),
    )
    op.create_index(op.f("ix_evidence_derivatives_sha256"), "evidence_derivatives", ["sha256"])
    op.create_table(
        "evidence_holds",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("inspection", sa.String(36), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.String(64), nullable=False),
        sa.Column("placed_at", UtcDateTime(), nullable=False),
        sa.Column("lifted_by", sa.String(64)),
        sa.Column("lifted_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence_holds")),
    )
    op.create_index(op.f("ix_evidence_holds_inspection"), "evidence_holds", ["inspection"])


def downgrade() -> None:
    """Take the revision back."""
    for name in ("evidence_holds", "evidence_derivatives", "evidence_picture_bands"):
        op.drop_table(name)
    with op.batch_alter_table("evidence_blobs") as table:
        table.drop_index(op.f("ix_evidence_blobs_doomed_at"))
        for name in ("phash", "doomed_at", "destroyed_at"):
            table.drop_column(name)
    for name in ("ix_evidence_sha256", "ix_evidence_underived", "ix_evidence_unsealed"):
        op.drop_index(name, "evidence")
    with op.batch_alter_table("evidence") as table:
        for name in EVIDENCE_TIMES:
            table.drop_column(name)
    with op.batch_alter_table("evidence_uploads") as table:
        table.drop_column("concat")
