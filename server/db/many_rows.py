"""Writing many rows with one prepared statement.

On SQLite rows go to the driver's `executemany` as they are: SQLAlchemy's own handling of parameters costs more there
than the database. Only columns whose type has a form of its own in the database (instants, JSON) are converted.
PostgreSQL takes many rows in one statement, which SQLAlchemy arranges, and very many by `COPY`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, LargeBinary, Table, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from server.db.base import UtcDateTime
from server.db.bulk import Bulk, instant_text
from server.db.prepared import execute_many

STATEMENTS = 256
"""Most statements that are remembered of each kind; there are a few dozen."""
COPY_ROWS = 500
"""From so many rows on, PostgreSQL copies them: that costs less than statements, and a little more to begin with."""
Row = Mapping[str, Any]
Convert = Callable[[Any], Any]


def insert_rows(session: Session, table: Table, rows: Sequence[Row], *, ignore: bool = False) -> None:
    """Insert rows, all with the same columns in the same order.

    Args:
        session: the write session.
        table: the table, e.g. `Model.__table__`.
        rows: mappings from column name to value.
        ignore: leave out rows whose key is there already.
    """
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        if not ignore and len(rows) >= COPY_ROWS:
            Bulk(table, list(rows[0])).append(session, _values(connection, table, tuple(rows[0]), rows))
        elif ignore:
            connection.execute(postgresql.insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])
        else:
            connection.execute(table.insert(), [dict(row) for row in rows])
        return
    names = tuple(rows[0])
    execute_many(connection, _insert(table.name, names, ignore), _values(connection, table, names, rows))


def update_rows(session: Session, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
    """Update rows by their key; all rows have the same columns in the same order, those of the key among them.

    Args:
        session: the write session.
        table: the table, e.g. `Model.__table__`.
        keys: names of the key's columns.
        rows: mappings from column name to value.
    """
    if not rows:
        return
    connection = session.connection()
    changed = [name for name in rows[0] if name not in keys]
    if connection.dialect.name != "sqlite":
        statement = table.update().values({name: bindparam(f"new_{name}") for name in changed})
        for name in keys:
            statement = statement.where(table.c[name] == bindparam(f"old_{name}"))
        connection.execute(
            statement, [{f"{'old' if name in keys else 'new'}_{name}": row[name] for name in row} for row in rows]
        )
        return
    sql = _update(table.name, tuple(changed), tuple(keys))
    execute_many(connection, sql, _values(connection, table, (*changed, *keys), rows))


@lru_cache(STATEMENTS)
def _insert(table: str, names: tuple[str, ...], ignore: bool) -> str:
    marks = ", ".join("?" * len(names))
    how = "ON CONFLICT DO NOTHING" if ignore else ""
    return f"INSERT INTO {_quoted(table)} ({_list(names)}) VALUES ({marks}) {how}"  # noqa: S608 - from models


@lru_cache(STATEMENTS)
def _update(table: str, changed: tuple[str, ...], keys: tuple[str, ...]) -> str:
    sets = ", ".join(f"{_quoted(name)} = ?" for name in changed)
    where = " AND ".join(f"{_quoted(name)} = ?" for name in keys)
    return f"UPDATE {_quoted(table)} SET {sets} WHERE {where}"  # noqa: S608 - names from the models


def _values(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The rows as the driver takes them."""
    columns = []
    for name, convert in zip(names, _converters(connection.dialect, table, names), strict=True):
        column = [row[name] for row in rows]
        columns.append(column if convert is None else _converted(column, convert))
    return list(zip(*columns, strict=True))


@lru_cache(STATEMENTS)
def _converters(dialect: Dialect, table: Table, names: tuple[str, ...]) -> tuple[Convert | None, ...]:
    """What brings the values of each column into the form that the driver takes; None: nothing need be done."""
    return tuple(_converter(dialect, table.c[name].type) for name in names)


def _converter(dialect: Dialect, kind: TypeEngine[Any]) -> Convert | None:
    if isinstance(kind, LargeBinary):  # the driver takes bytes as they are
        return None
    if isinstance(kind, UtcDateTime) and dialect.name == "sqlite":
        return _instant
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _instant(at: datetime | None) -> str | None:
    """What :class:`UtcDateTime` makes of an instant on SQLite, in a fifth of the time."""
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValueError("a naive datetime was bound; every instant must carry its zone")
    return instant_text(at if at.tzinfo is UTC else at.astimezone(UTC))


def _converted(column: list[Any], convert: Convert) -> list[Any]:
    """Convert a column's values; a run of equal ones (one instant for a whole batch) is converted once."""
    found: list[Any] = []
    before = last = None
    for value in column:
        if not found or (value is not before and value != before):
            before, last = value, convert(value)
        found.append(last)
    return found


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return f'"{name}"'
