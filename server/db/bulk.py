"""Bulk statements with rows as plain tuples, as the driver takes them: no object is made for a row.

For the few tables that receive thousands of rows a second. SQLite: `executemany`. PostgreSQL: `COPY` for rows that are
new, a pipelined `executemany` for rows to be replaced. Times are bound by :func:`time_binder`.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import JSON, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server.db.base import micros

TIMES_LIMIT = 50_000
"""Most instants whose number is remembered."""


def is_sqlite(session: Session) -> bool:
    """Tell whether a session is on SQLite."""
    return session.connection().dialect.name == "sqlite"


def instant_text(at: datetime) -> str:
    """Return an aware UTC instant as SQLite's `UtcDateTime` columns hold it."""
    return at.isoformat(" ", "microseconds")[:26]


class Micros(dict[datetime, int]):
    """Remembers the microseconds of instants: readings of many sensors share their times."""

    def __missing__(self, at: datetime) -> int:
        """Work out and remember a number."""
        if len(self) >= TIMES_LIMIT:
            self.clear()
        number = self[at] = micros(at)
        return number


def time_binder(session: Session) -> Callable[[datetime], Any]:
    """Return how a session's driver wants an aware UTC instant."""
    return instant_text if is_sqlite(session) else lambda at: at


def _is_json(table: Table, column: str) -> bool:
    return isinstance(table.columns[column].type, JSON)


class Bulk:
    """Bulk statements of some columns of one table; rows are tuples in the order of `columns`."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        """Prepare the statements; the names come from the models and never from outside."""
        self._table, self._columns = table, tuple(columns)
        names = ", ".join(f'"{name}"' for name in columns)
        texts = ", ".join(f'"{name}"{"::text" * _is_json(table, name)}' for name in columns)
        self._select = f"SELECT {names} FROM {table.name}", f"SELECT {texts} FROM {table.name}"  # noqa: S608 - names of models
        self._into = f"INTO {table.name} ({names})"
        self._copy = f"COPY {table.name} ({names}) FROM STDIN"

    def find(
        self, session: Session, key: str, values: Sequence[str], *, lock: bool = False
    ) -> Sequence[tuple[Any, ...]]:
        """Return the rows whose `key` is one of some texts, in its order: one statement, however many there are.

        Columns come as the driver has them, JSON as its text. With `lock` nobody else changes the rows meanwhile; locks
        are taken in the order of the key, so that two transactions never cross.
        """
        if not values:
            return ()
        plain, with_texts = self._select
        given: str | list[str]
        if is_sqlite(session):  # one writer at a time: nothing to lock
            given = json.dumps(list(values))
            query = f'{plain} WHERE "{key}" IN (SELECT value FROM json_each(?)) ORDER BY "{key}"'  # noqa: S608 - names of models
        else:
            given = list(values)
            query = f'{with_texts} WHERE "{key}" = ANY(%s) ORDER BY "{key}"{" FOR UPDATE" * lock}'
        rows: Any = session.connection().exec_driver_sql(query, (given,)).fetchall()
        return cast(Sequence[tuple[Any, ...]], rows)

    def find_pairs(
        self, session: Session, keys: tuple[str, str], pairs: Sequence[tuple[int, str]]
    ) -> Sequence[tuple[Any, ...]]:
        """Return the rows whose `keys`, a whole number and a text, are one of some pairs: a seek for each, no product.

        Columns come as the driver has them.
        """
        if not pairs:
            return ()
        names = ", ".join(f'r."{name}"' for name in self._columns)
        number, text = keys
        given: tuple[Any, ...]
        if is_sqlite(session):
            given = (json.dumps(pairs),)
            wanted = "(SELECT value ->> 0 AS number, value ->> 1 AS name FROM json_each(?)) AS w CROSS JOIN"
        else:
            given = ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
            wanted = "unnest(%s::bigint[], %s::text[]) AS w(number, name) JOIN"
        condition = f'r."{number}" = w.number AND r."{text}" = w.name'
        query = f"SELECT {names} FROM {wanted} {self._table.name} AS r ON {condition}"  # noqa: S608 - names of models
        rows: Any = session.connection().exec_driver_sql(query, given).fetchall()
        return cast(Sequence[tuple[Any, ...]], rows)

    def append(self, session: Session, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows that are not there yet.

        Raises:
            sqlalchemy.exc.IntegrityError: one of them is.
        """
        if not rows:
            return
        connection = session.connection()
        if is_sqlite(session):
            marks = ", ".join("?" * len(self._columns))
            connection.exec_driver_sql(f"INSERT {self._into} VALUES ({marks})", list(rows))  # noqa: S608 - names of models
            return
        driver = connection.connection.driver_connection
        if driver is None:  # pragma: no cover - a connection that is in use has one
            raise RuntimeError("no driver connection")
        try:
            with driver.cursor() as cursor, cursor.copy(self._copy) as copy:
                for row in rows:
                    copy.write_row(row)
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise IntegrityError(self._copy, None, error) from error

    def replace(self, session: Session, rows: Sequence[tuple[Any, ...]], keys: Sequence[str]) -> None:
        """Insert rows, or replace the other columns of those whose `keys` are there already."""
        if rows:
            changed = ", ".join(f'"{name}" = excluded."{name}"' for name in self._columns if name not in keys)
            self._upsert(session, rows, keys, changed)

    def add(self, session: Session, rows: Sequence[tuple[Any, ...]], keys: Sequence[str], sums: Sequence[str]) -> None:
        """Insert rows, or add `sums` to those whose `keys` are there already."""
        if rows:
            table = self._table.name
            changed = ", ".join(f'"{name}" = {table}."{name}" + excluded."{name}"' for name in sums)
            self._upsert(session, rows, keys, changed)

    def _upsert(self, session: Session, rows: Sequence[tuple[Any, ...]], keys: Sequence[str], changed: str) -> None:
        key = ", ".join(f'"{name}"' for name in keys)
        statement = f"INSERT {self._into} VALUES ({self._marks(session)}) ON CONFLICT ({key}) DO UPDATE SET {changed}"  # noqa: S608 - names of models
        session.connection().exec_driver_sql(statement, list(rows))

    def _marks(self, session: Session) -> str:
        if is_sqlite(session):
            return ", ".join("?" * len(self._columns))
        types = [self._table.columns[name].type.dialect_impl(session.connection().dialect) for name in self._columns]
        return ", ".join("%s::jsonb" if isinstance(kind, JSONB) else "%s" for kind in types)
