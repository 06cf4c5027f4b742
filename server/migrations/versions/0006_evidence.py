"""Evidence: concatenation, derivatives, receipts, retention."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("evidence_uploads") as table:
        table.add_column(sa.Column("concat", sa.Text()))


def downgrade() -> None:
    """Take the revision back."""
    with op.batch_alter_table("evidence_uploads") as table:
        table.drop_column("concat")
