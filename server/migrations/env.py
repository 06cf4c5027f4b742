"""Alembic's environment: runs the revisions on the connection that `server.migrating` hands over."""

from alembic import context

from server.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
