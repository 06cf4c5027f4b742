"""The base registers: grades, merges and search of entities; officers' scope and avoidance; sectors; draws; versions
of the directory.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from server.entities.models import DROP_SEARCH, MAKE_SEARCH

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Apply the revision."""
    for name, length, default in (
        ("entity_type", 2, "01"), ("sector", 32, ""), ("status", 8, "active"), ("risk", 1, "B"), ("credit", 1, "B"),
    ):  # fmt: skip
        op.add_column("entity", sa.Column(name, sa.String(length), nullable=False, server_default=default))
    op.add_column("entity", sa.Column("merged_into", sa.String(36), nullable=True))
    op.create_index(op.f("ix_entity_merged_into"), "entity", ["merged_into"])
    op.create_table(
        "entity_grade",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("entity", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("before", sa.String(1), nullable=False),
        sa.Column("grade", sa.String(1), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["entity"], ["entity.id"], name=op.f("fk_entity_grade_entity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entity_grade")),
    )
    op.create_index(op.f("ix_entity_grade_entity"), "entity_grade", ["entity"])
    for statement in MAKE_SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
    op.add_column("supervision_item", sa.Column("sector", sa.String(32), nullable=False, server_default=""))
    op.add_column(
        "officer",
        sa.Column(
            "certificate_valid_from", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00"
        ),
    )
    op.add_column("officer", sa.Column("scope", JSON, nullable=False, server_default="[]"))
    op.create_table(
        "officer_avoidance",
        sa.Column("officer", sa.String(36), nullable=False),
        sa.Column("other", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["officer"], ["officer.id"], name=op.f("fk_officer_avoidance_officer")),
        sa.PrimaryKeyConstraint("officer", "other", name=op.f("pk_officer_avoidance")),
    )
    op.create_index(op.f("ix_officer_avoidance_other"), "officer_avoidance", ["other"])
    _make_directory()
    _enter_directory()


def _make_directory() -> None:
    for name, length, default in (("item_type", 16, "inspection"), ("level", 16, "province")):
        op.add_column("supervision_item", sa.Column(name, sa.String(length), nullable=False, server_default=default))
    op.add_column("supervision_item", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    for table in ("supervision_item", "checklist"):
        op.add_column(table, sa.Column("status", sa.String(16), nullable=False, server_default="published"))
    op.create_table(
        "supervision_body",
        sa.Column("uscc", sa.String(18), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.PrimaryKeyConstraint("uscc", name=op.f("pk_supervision_body")),
    )
    op.create_table(
        "directory_version",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("register", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("content", JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(36), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reviewer", sa.String(64), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_version")),
        sa.UniqueConstraint("register", "code", "version", name=op.f("uq_directory_version_register_code_version")),
    )
    op.create_index(op.f("ix_directory_version_subject"), "directory_version", ["subject"])
    where = sa.text("state = 'published'")
    op.create_index(
        "uq_directory_version_in_force", "directory_version", ["register", "code"],
        unique=True, sqlite_where=where, postgresql_where=where,
    )  # fmt: skip


def _enter_directory() -> None:
    """Enter what was published before versions were kept; of a checklist's versions the newest is in force."""
    bind, now = op.get_bind(), datetime.now(UTC)
    meta = sa.MetaData()
    items = sa.Table("supervision_item", meta, autoload_with=bind)
    checklists = sa.Table("checklist", meta, autoload_with=bind)
    versions = sa.Table("directory_version", meta, autoload_with=bind)
    bodies = sa.Table("supervision_body", meta, autoload_with=bind)
    versions.c.content.type = JSON
    shared = {
        "author": "system",
        "reason": "在保留版本之前发布 / published before versions were kept",
        "created_at": now,
    }
    known, rows = {}, []
    for item in bind.execute(sa.select(items).order_by(items.c.code)).mappings():
        known[item["id"]] = item
        content = {name: item[name] for name in ("name", "item_type", "basis", "department", "level", "sector")}
        rows.append(
            {
                "id": item["id"], "register": "items", "code": item["code"], "version": 1, "name": item["name"],
                "content": {name: value for name, value in content.items() if value}, "state": "published",
                "subject": item["id"], "published_at": now, "ended_at": None,
            }
        )  # fmt: skip
    in_force: set[str] = set()
    offices: dict[str, dict[str, str]] = {}
    newest_first = sa.select(checklists).order_by(checklists.c.code, checklists.c.version.desc())
    for one in bind.execute(newest_first).mappings():
        its = known.get(one["item"])
        content = {"name": one["name"], "item": its["code"] if its else "", "sub_items": one["sub_items"]}
        state = "superseded" if one["code"] in in_force else "published"
        in_force.add(one["code"])
        rows.append(
            {
                "id": one["id"], "register": "checklists", "code": one["code"], "version": one["version"],
                "name": one["name"], "content": content, "state": state, "subject": one["id"],
                "published_at": now, "ended_at": None if state == "published" else now,
            }
        )  # fmt: skip
        if state == "superseded":
            bind.execute(checklists.update().where(checklists.c.id == one["id"]).values(status=state))
        if its:
            office = {"name": its["department"], "department": its["department"], "region": one["code"][2:8]}
            offices.setdefault(one["code"][:18], office)
    if rows:
        bind.execute(versions.insert(), [shared | row for row in rows])
    if offices:
        bind.execute(bodies.insert(), [{"uscc": uscc, **office} for uscc, office in offices.items()])


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("directory_version")
    op.drop_table("supervision_body")
    op.drop_column("checklist", "status")
    op.drop_table("officer_avoidance")
    for table, columns in (
        ("officer", ("scope", "certificate_valid_from")),
        ("supervision_item", ("status", "version", "level", "item_type", "sector")),
    ):
        for column in columns:
            op.drop_column(table, column)
    for statement in DROP_SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_table("entity_grade")
    op.drop_index(op.f("ix_entity_merged_into"), "entity")
    for column in ("merged_into", "credit", "risk", "status", "sector", "entity_type"):
        op.drop_column("entity", column)
