"""The accept path: stored lines hold live values by act; columns that are mostly empty are indexed where they are not."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHUNK = 500
RECORD = sa.table("synced_record", *(sa.column(name) for name in ("kind", "id", "position")), sa.column("line"))


def upgrade() -> None:
    """Apply the revision."""
    _index(partial=True)
    _rewrite(_by_act)


def downgrade() -> None:
    """Take the revision back."""
    _index(partial=False)
    _rewrite(_by_field)


def _index(*, partial: bool) -> None:
    for table, column in (("act", "waiting_for"), ("synced_record", "parent")):
        where = sa.text(f"{column} IS NOT NULL") if partial else None
        name = op.f(f"ix_{table}_{column}")
        op.drop_index(name, table_name=table)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)


def _rewrite(change: Callable[[dict[str, Any]], bytes]) -> None:
    connection, after = op.get_bind(), 0
    while True:
        page = sa.select(RECORD).where(RECORD.c.position > after).order_by(RECORD.c.position).limit(CHUNK)
        rows = connection.execute(page).all()
        for row in rows:
            key = (RECORD.c.kind == row.kind) & (RECORD.c.id == row.id)
            connection.execute(RECORD.update().where(key).values(line=change(json.loads(row.line))))
        if not rows:
            return
        after = rows[-1].position


def _by_act(line: dict[str, Any]) -> bytes:
    acts: dict[tuple[str, int], dict[str, Any]] = {}
    for name, entries in line["fields"].items():
        for entry in entries:
            journal, _, seq = entry["dot"].partition(":")
            act = {"dot": entry["dot"], "at_ms": entry["at_ms"], "fields": {}}
            acts.setdefault((journal, int(seq)), act)["fields"][name] = entry["value"]
    ordered = [acts[dot] for dot in sorted(acts)]
    return msgspec.json.encode(
        {("acts" if name == "fields" else name): value for name, value in line.items()} | {"acts": ordered}
    )


def _by_field(line: dict[str, Any]) -> bytes:
    fields: dict[str, list[Any]] = {}
    for act in line["acts"]:
        for name, value in act["fields"].items():
            entry = {"dot": act["dot"], "value": value, "at_ms": act["at_ms"]}
            fields.setdefault(name, []).append(entry)
    ordered = dict(sorted(fields.items()))
    changed = {("fields" if name == "acts" else name): value for name, value in line.items()} | {"fields": ordered}
    return json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode()
