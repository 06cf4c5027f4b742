"""Statements of the hot paths: put together once, and sent by the bare driver.

SQLAlchemy's own handling of a statement costs several times what SQLite takes to answer it. What a push asks is little
and always the same, so its statements are compiled once for each kind of database, and only columns whose type has a
form of its own there (instants, JSON) are converted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, LargeBinary, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import UpdateBase

Row = tuple[Any, ...]


class Prepared:
    """A statement that gives rows; `among` names the parameters that are lists, bound with `expanding=True`."""

    def __init__(self, statement: Select[*tuple[Any, ...]] | UpdateBase, *among: str) -> None:
        """Take the statement; it is compiled when it is first sent."""
        self._statement, self._among = statement, among
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, session: Session, values: Mapping[str, Any]) -> list[Row]:
        """Send it with named values; returns all rows, in the order of the statement's columns.

        Raises:
            sqlalchemy.exc.DBAPIError: what the driver raised.
        """
        connection = session.connection()
        name = connection.dialect.name
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = _Compiled(self._statement, self._among, connection.dialect)
        return compiled.send(connection, values)

    def row(self, session: Session, values: Mapping[str, Any]) -> Row | None:
        """Send it and return the first row; None without one."""
        rows = self.rows(session, values)
        return rows[0] if rows else None


class _Compiled:
    """A statement as one kind of database takes it."""

    def __init__(
        self, statement: Select[*tuple[Any, ...]] | UpdateBase, among: Sequence[str], dialect: Dialect
    ) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql, self._fixed = str(compiled), dict(compiled.params)
        self._order: Sequence[str] | None = compiled.positiontup
        self._marks = {name: f"IN (__[POSTCOMPILE_{name}])" for name in among}
        if self._order is None:
            for name, mark in self._marks.items():
                self._sql = self._sql.replace(mark, f"= ANY(%({name})s)")
        converters = [_converter(column.type, dialect) for column in statement.exported_columns]
        self._converters = [(place, convert) for place, convert in enumerate(converters) if convert is not None]

    def send(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        sql, bound = self._sql, {**self._fixed, **values}
        if self._order is None:
            rows = _fetched(connection, sql, bound)
        else:
            row: list[Any] = []
            for name in self._order:
                if name in self._marks:
                    row += bound[name]
                    sql = sql.replace(self._marks[name], f"IN ({', '.join('?' * len(bound[name]))})")
                else:
                    row.append(bound[name])
            rows = _fetched(connection, sql, row)
        if self._converters:
            rows = [self._converted(row) for row in rows]
        return rows

    def _converted(self, row: Row) -> Row:
        values = list(row)
        for place, convert in self._converters:
            values[place] = convert(values[place])
        return tuple(values)


def _converter(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:  # noqa: ANN401 - a column's type
    """What brings a column's values from the driver's form into ours; None: nothing need be done."""
    if isinstance(kind, LargeBinary):  # both drivers give bytes
        return None
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return found


def _fetched(connection: Connection, sql: str, values: Any) -> list[Row]:  # noqa: ANN401 - as the driver takes them
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql, values)
        return list(cursor.fetchall())
    except connection.dialect.loaded_dbapi.Error as error:
        raise wrapped(connection, sql, error) from error
    finally:
        cursor.close()


def execute_many(connection: Connection, sql: str, rows: Sequence[Row]) -> None:
    """Send one statement with many rows, in the driver's own spelling of parameters.

    Raises:
        sqlalchemy.exc.DBAPIError: what the driver raised.
    """
    cursor = connection.connection.cursor()
    try:
        cursor.executemany(sql, rows)
    except connection.dialect.loaded_dbapi.Error as error:
        raise wrapped(connection, sql, error) from error
    finally:
        cursor.close()


def wrapped(connection: Connection, sql: str, error: Exception) -> BaseException:
    """Return the driver's error as SQLAlchemy would raise it."""
    return DBAPIError.instance(sql, (), error, connection.dialect.loaded_dbapi.Error, dialect=connection.dialect)
