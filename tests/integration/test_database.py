"""What SQLite needs to be trusted: version, pragmas, explicit transactions, one writer over threads and processes."""

from __future__ import annotations

import multiprocessing
import stat
import sys
import threading
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError

from server.db import engine
from server.db.engine import (
    CACHE_KIB,
    CHECKPOINT_PAGES,
    PAGE_BYTES,
    READER_CACHE_KIB,
    SQLITE_FLOOR,
    Database,
    FairLock,
    WriterLock,
    sqlite_module,
)

METADATA = MetaData()
COUNTER = Table("counter", METADATA, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
PROGRAMS, ROUNDS = 4, 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with a counter that stands at 0."""
    opened = Database(f"sqlite:///{tmp_path / 'test.db'}")
    METADATA.create_all(opened.engine)
    with opened.write() as session:
        session.execute(insert(COUNTER).values(id=1, value=0))
    yield opened
    opened.dispose()


def value_of(database: Database) -> int:
    """Where the counter stands."""
    with database.read() as session:
        value: int = session.execute(select(COUNTER.c.value)).scalar_one()
    return value


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("cache_size", -READER_CACHE_KIB),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("page_size", PAGE_BYTES),
    ],
)
def test_every_connection_has_its_pragmas(database: Database, pragma: str, value: object) -> None:
    """They belong to the connection, so the second one is asked too; synchronous 2 is FULL."""
    with database.read() as one, database.read() as two:
        for session in (one, two):
            assert session.connection().exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value


def test_a_writer_has_the_large_cache(database: Database) -> None:
    """There is one writer at a time; what only reads does with little memory."""
    with database.write() as session:
        assert session.connection().exec_driver_sql("PRAGMA cache_size").scalar_one() == -CACHE_KIB


def test_the_version_in_use_is_new_enough(database: Database) -> None:
    """Older ones can corrupt a database that two connections write."""
    with database.read() as session:
        text = session.connection().exec_driver_sql("SELECT sqlite_version()").scalar_one()
    assert tuple(map(int, text.split("."))) >= SQLITE_FLOOR


def pretend(monkeypatch: pytest.MonkeyPatch, own: tuple[int, ...], other: tuple[int, ...] | None) -> ModuleType | None:
    """Make Python's own SQLite, and the one of pysqlite3 (if there is one), look like other versions."""
    version = ".".join(map(str, own))
    monkeypatch.setattr(engine, "sqlite3", SimpleNamespace(sqlite_version_info=own, sqlite_version=version))
    dbapi2 = None if other is None else ModuleType("pysqlite3.dbapi2")
    if dbapi2 is not None:
        dbapi2.sqlite_version_info = other  # type: ignore[attr-defined]  # as the real module has it
    package = ModuleType("pysqlite3")
    package.dbapi2 = dbapi2  # type: ignore[attr-defined]  # as the real package has it
    monkeypatch.setitem(sys.modules, "pysqlite3", package)
    return dbapi2


def test_pythons_own_sqlite_is_used_where_it_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other driver is asked for."""
    pretend(monkeypatch, SQLITE_FLOOR, None)
    assert sqlite_module().sqlite_version_info == SQLITE_FLOOR


def test_an_old_sqlite_gives_way_to_pysqlite3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wheel brings a newer one."""
    newer = pretend(monkeypatch, (3, 40, 1), SQLITE_FLOOR)
    assert sqlite_module() is newer


@pytest.mark.parametrize("other", [None, (3, 51, 2)])
def test_without_a_new_sqlite_nothing_starts(monkeypatch: pytest.MonkeyPatch, other: tuple[int, ...] | None) -> None:
    """Said in one line, with both versions."""
    pretend(monkeypatch, (3, 40, 1), other)
    with pytest.raises(RuntimeError, match=r"SQLite 3\.51\.3 or newer is needed; found 3\.40\.1"):
        sqlite_module()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    """Each connection would see its own."""
    with pytest.raises(ValueError, match="needs a file"):
        Database(url)


def test_writing_begins_immediately(database: Database) -> None:
    """The lock is taken by BEGIN, before the first statement reads: no upgrade can fail half-way."""
    with database.write():
        driver = sqlite_module()
        outsider = driver.connect(database.engine.url.database, timeout=0, isolation_level=None)
        with pytest.raises(driver.OperationalError, match="locked"):
            outsider.execute("BEGIN IMMEDIATE")
        outsider.close()


def test_a_nested_failure_keeps_the_transaction(database: Database) -> None:
    """The driver's own transaction handling would have committed at the savepoint."""
    with pytest.raises(RuntimeError), database.write() as session:  # noqa: PT012 - the block is what is tested
        session.execute(COUNTER.update().values(value=5))
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(insert(COUNTER).values(id=1, value=9))
        raise RuntimeError
    assert value_of(database) == 0


def test_the_lock_is_one_for_all_threads_and_files(tmp_path: Path) -> None:
    """Another opening of the same file is kept out while the lock is held, and comes in afterwards."""
    here, there = WriterLock(tmp_path / "lock"), WriterLock(tmp_path / "lock")
    order: list[str] = []
    context = multiprocessing.get_context("spawn")
    waiting, done = context.Event(), context.Event()
    with here.hold():
        other = context.Process(target=take, args=(tmp_path / "lock", waiting, done))
        other.start()
        assert waiting.wait(60)
        order.append("here")
        assert not done.is_set()
    other.join()
    assert done.is_set()
    with there.hold():
        order.append("there")
    assert order == ["here", "there"]
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def take(path: Path, waiting: Event, done: Event) -> None:
    """What another program does: say that it is about to wait, wait, say that it got the lock."""
    waiting.set()
    with WriterLock(path).hold():
        done.set()


def test_the_lock_is_let_go_after_a_failure(tmp_path: Path) -> None:
    """An exception does not lock everybody out."""
    lock = WriterLock(tmp_path / "lock")
    with pytest.raises(RuntimeError), lock.hold():
        raise RuntimeError
    with lock.hold():
        pass


def count_up(url: str, barrier: Barrier) -> None:
    """What each program does at the same time as the others: read, add one, write, many times."""
    database = Database(url)
    barrier.wait()
    for _ in range(ROUNDS):
        with database.write() as session:
            value = session.execute(select(COUNTER.c.value)).scalar_one()
            session.execute(COUNTER.update().values(value=value + 1))
    database.dispose()


def test_programs_lose_no_update(database: Database) -> None:
    """Real processes that read and write back never overwrite each other, and none is turned away."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROGRAMS)
    programs = [context.Process(target=count_up, args=(database.url, barrier)) for _ in range(PROGRAMS)]
    for program in programs:
        program.start()
    for program in programs:
        program.join()
    assert [program.exitcode for program in programs] == [0] * PROGRAMS
    assert value_of(database) == PROGRAMS * ROUNDS


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    """Nobody is overtaken: whoever waits longest is next, and the lock is free in the end."""
    lock, order = FairLock(), list[int]()

    def take(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    with lock:
        for number, thread in enumerate(threads, 1):
            thread.start()
            while lock.waiting < number:
                thread.join(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert lock.waiting == 0
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    with lock:
        pass
