"""Alembic's environment: runs the revisions on the connection that `server.migrating` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON

from server.db.base import UtcDateTime
from server.tables import METADATA


def render_item(kind: str, item: Any, generating: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 - any schema item
    """Write our own column types as what they are in the database: revisions must not depend on present code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        generating.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
