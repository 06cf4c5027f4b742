"""SQLite with its file layer in Python: what the database writes and syncs is recorded in order.

The recorder is a VFS of `apsw` over the system's own; the platform's engine runs on it through the few members of a
Python database driver that SQLAlchemy uses. Nothing else of the platform is replaced.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
from sqlalchemy import Engine, QueuePool, create_engine, event, make_url

from server.db.engine import BUSY_TIMEOUT_S, Database, _prepare_sqlite

WRITE, TRUNCATE, SYNC, DELETE, ACKNOWLEDGED = "write", "truncate", "sync", "delete", "acknowledged"
CHECKPOINT_PAGES = 60
"""Small, so that a short recording holds checkpoints too."""


@dataclass(frozen=True)
class Step:
    """One thing that happened to one file, or an answer that left the server."""

    what: str
    file: str = ""
    offset: int = 0
    """Where a write begins; the new size of a truncated file."""
    data: bytes = b""
    """What was written; the receipts that were acknowledged, a line each."""


@dataclass
class Recording:
    """Everything since the recording began."""

    steps: list[Step] = field(default_factory=list)

    def acknowledge(self, reply: bytes) -> None:
        """Note that an answer to a push has left the server; its receipts are promises from here on."""
        lines = reply.removesuffix(b"\n").split(b"\n")[1:]
        self.steps.append(Step(ACKNOWLEDGED, data=b"\n".join(lines)))


def receipts_of(step: Step) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Yield what a step acknowledged: dot and receipt."""
    for line in step.data.split(b"\n"):
        members = json.loads(line)
        yield (members["journal"], members["seq"]), line


class RecordingVfs(apsw.VFS):
    """The system's files, with a note of every change."""

    def __init__(self, recording: Recording) -> None:
        """Register under a name of its own."""
        self.vfs_name = f"recording-{id(self)}"
        self.recording = recording
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: ANN401, N802 - SQLite's name
        """Open a file."""
        return _RecordedFile(self.recording, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's signature
        """Delete a file."""
        super().xDelete(filename, syncdir)
        self.recording.steps.append(Step(DELETE, Path(filename).name))


class _RecordedFile(apsw.VFSFile):
    def __init__(self, recording: Recording, name: Any, flags: list[int]) -> None:  # noqa: ANN401 - apsw's type
        self._steps = recording.steps
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._file = Path(path).name
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._steps.append(Step(WRITE, self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        super().xTruncate(newsize)
        self._steps.append(Step(TRUNCATE, self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._steps.append(Step(SYNC, self._file))


class Error(Exception):
    """Base of the driver's errors."""


class OperationalError(Error):
    """Anything that SQLite refuses."""


class IntegrityError(Error):
    """A constraint."""


class Driver:
    """The members of a Python database driver that SQLAlchemy looks for."""

    paramstyle = "qmark"
    Binary = bytes
    sqlite_version = apsw.sqlite_lib_version()
    sqlite_version_info = tuple(map(int, sqlite_version.split(".")))
    Error = DatabaseError = InterfaceError = InternalError = NotSupportedError = Error
    ProgrammingError = DataError = OperationalError = OperationalError
    IntegrityError = IntegrityError


class Connection:
    """One connection."""

    isolation_level: str | None = None

    def __init__(self, path: str, vfs: str) -> None:
        """Open a file through a VFS."""
        self.real = apsw.Connection(path, vfs=vfs)
        self.real.set_busy_timeout(BUSY_TIMEOUT_S * 1000)

    def cursor(self) -> "Cursor":
        """Return a new cursor."""
        return Cursor(self)

    def execute(self, text: str, values: Sequence[Any] = ()) -> "Cursor":
        """Run one statement on a new cursor."""
        return self.cursor().execute(text, values)

    def create_function(self, name: str, count: int, function: Any, **_: Any) -> None:  # noqa: ANN401 - as sqlite3
        """Add a function."""
        self.real.create_scalar_function(name, function, count)

    def commit(self) -> None:
        """End the transaction, if there is one."""
        if self.real.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if self.real.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close."""
        self.real.close()


class Cursor:
    """Runs statements; rows are read at once."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        """Belong to a connection."""
        self._connection = connection.real
        self._rows: Iterator[Any] = iter(())
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.lastrowid = 0

    def execute(self, text: str, values: Any = ()) -> "Cursor":  # noqa: ANN401 - a sequence or a mapping
        """Run one statement."""
        return self._run(text, [values])

    def executemany(self, text: str, many: Sequence[Any]) -> "Cursor":
        """Run one statement for each set of values."""
        return self._run(text, many)

    def _run(self, text: str, many: Sequence[Any]) -> "Cursor":
        columns: list[tuple[Any, ...]] = []
        before = self._connection.total_changes()

        def describe(cursor: Any, _text: str, _values: Any) -> bool:  # noqa: ANN401 - apsw's callback
            columns[:] = [(name, *(None,) * 6) for name, *_ in cursor.get_description()]
            return True

        rows: list[Any] = []
        try:
            for values in many:
                real = self._connection.cursor()
                real.exec_trace = describe
                rows += real.execute(text, values or None)
        except apsw.ConstraintError as error:
            raise IntegrityError(str(error)) from error
        except apsw.Error as error:
            raise OperationalError(str(error)) from error
        self._rows, self.description = iter(rows), columns or None
        self.rowcount = -1 if columns else self._connection.total_changes() - before
        self.lastrowid = self._connection.last_insert_rowid()
        return self

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""
        return self._rows

    def fetchone(self) -> Any:  # noqa: ANN401 - a row or None
        """Return the next row."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return the next rows."""
        return [row for _, row in zip(range(size), self._rows, strict=False)]

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        return list(self._rows)

    def close(self) -> None:
        """Forget the rows."""
        self._rows = iter(())


class RecordedDatabase(Database):
    """The platform's database, on recorded files."""

    def __init__(self, url: str, recording: Recording, synchronous: str) -> None:
        """Open the database with `synchronous` in place of the platform's FULL (for the control)."""
        self._vfs = RecordingVfs(recording)
        self._synchronous = synchronous
        super().__init__(url)

    def _open_sqlite(self, url: str) -> Engine:
        super()._open_sqlite(url).dispose()  # makes the writer's lock
        path = str(make_url(url).database)
        engine = create_engine(
            "sqlite://", module=Driver, poolclass=QueuePool, creator=lambda: Connection(path, self._vfs.vfs_name)
        )
        event.listen(engine, "connect", self._prepare)
        return engine

    def _open_readers(self, url: str) -> Engine:
        return self.engine

    def _prepare(self, connection: Connection, record: object) -> None:
        _prepare_sqlite(connection, record)
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
