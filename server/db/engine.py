"""Engine and transactions, the same on SQLite and PostgreSQL.

SQLite: WAL with `synchronous=FULL` (a commit survives power loss), foreign keys on, explicit BEGIN so that savepoints
work, and one writer lock (threads and processes) in front of `BEGIN IMMEDIATE`: without it SQLite's own busy handler
sleeps and makes the slowest writers several times slower.
"""

import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, literal, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, sessionmaker

from server.db.lane import Lane

SQLITE_FLOOR = (3, 51, 3)
"""Older versions (3.7.0 to 3.51.2) can corrupt a WAL database that two connections write."""
PAGE_BYTES = 8_192
"""Page size of a new database. An act and a served record are 1 to 3 KB: pages of 4 KB would be a third empty."""
CACHE_KIB = 32_768
"""Page cache of a connection that writes; there is one writer at a time, and the connection used last is used next."""
READER_CACHE_KIB = 8_192
"""Page cache of a connection that only reads: many read at once, and what streams a million rows needs none again."""
CHECKPOINT_PAGES = 4_000
POOL_CONNECTIONS = 4
"""Connections that a process keeps open; under load more are opened, and closed again."""
BUSY_TIMEOUT_S = 30
IN_LIST_LIMIT = 500
"""Most values in one IN list; longer lists are cut (SQLite binds at most 32,766 variables)."""


def sqlite_module() -> ModuleType:
    """Return a SQLite driver new enough to be trusted.

    Raises:
        RuntimeError: neither Python's own nor `pysqlite3` is at least :data:`SQLITE_FLOOR`.
    """
    if sqlite3.sqlite_version_info >= SQLITE_FLOOR:
        return sqlite3
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - has no wheel on every platform, and is not needed on all
    except ImportError:
        dbapi2 = None
    if dbapi2 is not None and dbapi2.sqlite_version_info >= SQLITE_FLOOR:
        module: ModuleType = dbapi2
        return module
    raise RuntimeError(f"SQLite {'.'.join(map(str, SQLITE_FLOOR))} or newer is needed; found {sqlite3.sqlite_version}")


class FairLock:
    """A lock between threads that is handed on in the order in which they came, so that nobody waits for very long."""

    def __init__(self) -> None:
        """Make it, free."""
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._waiting)

    def __enter__(self) -> None:
        """Wait for one's turn."""
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # until the holder before hands it on

    def __exit__(self, *_: object) -> None:
        """Hand it on, or free it."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False


class WriterLock:
    """One writer at a time over threads and processes: a `flock` on a file beside the database."""

    def __init__(self, path: Path) -> None:
        """Remember the path; each holder opens the file anew, since `flock` belongs to the open file."""
        self._path = path
        self._threads = FairLock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock for the length of the block."""
        with self._threads:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)


class Database:
    """One database: its engine and its two kinds of transaction."""

    def __init__(self, url: str) -> None:
        """Open (lazily) the database at a SQLAlchemy URL (`sqlite:///…` or `postgresql+psycopg://…`)."""
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self._lock: WriterLock | None = None
        self.lane: Lane[Any] = Lane()
        """In which the threads of this process take in pushes: see :mod:`server.fieldsync.arrivals`."""
        if self.is_sqlite:
            self.engine = self._open_sqlite(url)
            self.readers = self._open_readers(url)
        else:
            self.engine = self.readers = create_engine(url, pool_pre_ping=True)
        self.sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._reading_sessions = sessionmaker(self.readers, expire_on_commit=False)

    def _open_sqlite(self, url: str) -> Engine:
        path = make_url(url).database
        if not path or path == ":memory:":
            raise ValueError("SQLite needs a file: several programs share the database")
        self._lock = WriterLock(Path(f"{path}.lock"))
        engine = create_engine(
            url,
            module=sqlite_module(),
            connect_args={"timeout": BUSY_TIMEOUT_S},
            pool_size=POOL_CONNECTIONS,
            pool_use_lifo=True,  # the connection used last has the pages in its cache
        )
        event.listen(engine, "connect", _prepare_sqlite)
        return engine

    def _open_readers(self, url: str) -> Engine:
        engine = create_engine(url, module=sqlite_module(), connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "connect", _shrink_cache)
        return engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session over one consistent snapshot; nothing written in it is kept."""
        if not self.is_sqlite:
            with self._reading_sessions() as session:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                yield session
            return
        with self._begun(self.readers, "BEGIN") as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at the end of the block, or rolls back if the block raises."""
        if self._lock is None:
            with self.sessions.begin() as session:
                yield session
            return
        with self._lock.hold(), self._begun(self.engine, "BEGIN IMMEDIATE") as session:
            yield session
            session.commit()

    @staticmethod
    @contextmanager
    def _begun(engine: Engine, statement: str) -> Iterator[Session]:
        """Open a session on a connection that has begun; what is not committed is rolled back at the end.

        The statement goes past SQLAlchemy: its own way of sending it takes several times as long as SQLite does.
        """
        with engine.connect() as connection:
            connection.connection.cursor().execute(statement).close()
            with Session(connection, expire_on_commit=False) as session:
                yield session

    def dispose(self) -> None:
        """Close all pooled connections (after a fork, or at the end)."""
        self.engine.dispose()
        self.readers.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI connection of either driver
    connection.isolation_level = None  # the driver's own transaction handling defeats savepoints; we say BEGIN
    cursor = connection.cursor()
    for pragma in (
        f"page_size={PAGE_BYTES}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _shrink_cache(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI connection of either driver
    connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}").close()


def insert_ignore(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows, leaving out those whose key is there already.

    Args:
        session: the write session.
        table: the table, e.g. `Model.__table__`.
        rows: mappings from column name to value; all with the same keys.

    Returns:
        How many rows were really inserted.
    """
    if not rows:
        return 0
    connection: Connection = session.connection()
    values = [dict(row) for row in rows]
    if connection.dialect.name != "sqlite":
        inserted = postgresql.insert(table).on_conflict_do_nothing().returning(literal(1))
        return len(connection.execute(inserted, values).all())  # executemany reports no rowcount here either
    before = _changes(connection)
    connection.execute(sqlite.insert(table).on_conflict_do_nothing(), values)
    return _changes(connection) - before


def _changes(connection: Connection) -> int:
    """SQLite's running count of changed rows: `executemany` reports no usable rowcount with ON CONFLICT."""
    count: int = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
    return count
