"""What every database must do for us, SQLite and PostgreSQL alike: transactions, savepoints, types, upserts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    func,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.schema import CreateSchema, DropSchema

from server.db.base import JsonValue, UtcDateTime
from server.db.engine import Database, insert_ignore
from server.db.many_rows import COPY_ROWS, insert_rows, update_rows
from server.db.prepared import Prepared

METADATA = MetaData()
COUNTER = Table("counter", METADATA, Column("id", Integer, primary_key=True), Column("value", Integer, nullable=False))
THING = Table(
    "thing",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("name", Text, unique=True),
    Column("at", UtcDateTime),
    Column("data", JsonValue),
    Column("bytes", LargeBinary),
    Column("counter", ForeignKey("counter.id")),
)
WRITERS, ROUNDS = 4, 25
CHINA = timezone(timedelta(hours=8))


@pytest.fixture
def schema_url(postgres_url: str) -> Iterator[str]:
    """URL of an empty schema of the test's own: quicker to make than a database."""
    name = f"contract_{uuid4().hex}"
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(CreateSchema(name))
    yield make_url(postgres_url).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(False)
    with engine.begin() as connection:
        connection.execute(DropSchema(name, cascade=True))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind, with the tables above and a counter that stands at 0."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'contract.db'}"
    else:
        url = request.getfixturevalue("schema_url")
    opened = Database(url)
    METADATA.create_all(opened.engine)
    with opened.write() as session:
        session.execute(insert(COUNTER).values(id=1, value=0))
    yield opened
    opened.dispose()


def names(database: Database) -> set[str]:
    """The names of all things that are really stored."""
    with database.read() as session:
        return set(session.execute(select(THING.c.name)).scalars())


def thing(name: str) -> dict[str, str]:
    """A row."""
    return {"id": f"id of {name}", "name": name}


def test_a_write_is_kept(database: Database) -> None:
    """The block's end commits."""
    with database.write() as session:
        session.execute(insert(THING), [thing("a"), thing("b")])
    assert names(database) == {"a", "b"}


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    """Any exception rolls everything back, and the next write goes ahead."""
    with pytest.raises(KeyboardInterrupt), database.write() as session:  # noqa: PT012 - the block is what is tested
        session.execute(insert(THING), [thing("a")])
        raise KeyboardInterrupt
    with database.write() as session:
        session.execute(insert(THING), [thing("b")])
    assert names(database) == {"b"}


def test_a_commit_that_fails_is_reported(database: Database) -> None:
    """A broken reference or a double name raises, whole and at once."""
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(THING), [thing("a") | {"counter": 77}])
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(THING), [thing("b"), thing("b") | {"id": "another"}])
    assert names(database) == set()


def test_a_savepoint_undoes_its_part_alone(database: Database) -> None:
    """What failed inside is gone, what stood before and came after stays."""
    with database.write() as session:
        session.execute(insert(THING), [thing("before")])
        with pytest.raises(IntegrityError), session.begin_nested():  # noqa: PT012 - the block is what is tested
            session.execute(insert(THING), [thing("inside")])
            session.execute(insert(THING), [thing("before")])
        with session.begin_nested():
            session.execute(insert(THING), [thing("after")])
    assert names(database) == {"before", "after"}


def test_nothing_written_while_reading_is_kept(database: Database) -> None:
    """A read transaction always rolls back."""
    with database.read() as session:
        session.execute(insert(THING), [thing("a")])
    assert names(database) == set()


def test_a_reader_sees_one_snapshot(database: Database) -> None:
    """A commit in between stays unseen until the next read; the writer does not wait for the reader."""
    with database.read() as session:
        count = select(func.count()).select_from(THING)
        assert session.execute(count).scalar_one() == 0
        with database.write() as other:
            other.execute(insert(THING), [thing("a")])
        assert session.execute(count).scalar_one() == 0
    assert names(database) == {"a"}


def test_uncommitted_rows_are_not_seen(database: Database) -> None:
    """Readers see commits only."""
    with database.write() as session:
        session.execute(insert(THING), [thing("a")])
        assert names(database) == set()
    assert names(database) == {"a"}


def test_writers_lose_no_update(database: Database) -> None:
    """Threads that read a locked row and write it back never overwrite each other."""
    failures: list[BaseException] = []

    def count_up() -> None:
        try:
            for _ in range(ROUNDS):
                with database.write() as session:
                    row = select(COUNTER.c.value).where(COUNTER.c.id == 1).with_for_update()
                    value = session.execute(row).scalar_one()
                    session.execute(COUNTER.update().values(value=value + 1))
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    writers = [threading.Thread(target=count_up) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    with database.read() as session:
        assert session.execute(select(COUNTER.c.value)).scalar_one() == WRITERS * ROUNDS


def test_insert_ignore_counts_what_is_new(database: Database) -> None:
    """Rows whose key is there, in the table or earlier in the list, are left out and not counted."""
    with database.write() as session:
        assert insert_ignore(session, THING, [thing("a"), thing("b")]) == 2
        assert insert_ignore(session, THING, [thing("a"), thing("b")]) == 0
        assert insert_ignore(session, THING, [thing("b"), thing("c"), thing("c"), thing("d")]) == 2
        assert insert_ignore(session, THING, [thing("e")]) == 1
        assert insert_ignore(session, THING, [thing("e")]) == 0
        assert insert_ignore(session, THING, []) == 0
    assert names(database) == {"a", "b", "c", "d", "e"}


def test_insert_ignore_leaves_what_is_there(database: Database) -> None:
    """It never updates."""
    with database.write() as session:
        insert_ignore(session, THING, [thing("a") | {"data": {"n": 1}}])
        insert_ignore(session, THING, [thing("a") | {"data": {"n": 2}}])
        assert session.execute(select(THING.c.data)).scalar_one() == {"n": 1}


def test_insert_ignore_of_many_rows(database: Database) -> None:
    """Beyond the number of variables that one statement binds."""
    rows = [thing(str(number)) for number in range(20_000)]
    with database.write() as session:
        insert_ignore(session, THING, rows[::2])
        assert insert_ignore(session, THING, rows) == 10_000


def test_many_rows_are_written_as_they_are_read(database: Database) -> None:
    """Instants, JSON and bytes come back as they were given; updates go by key, and repeats can be left out."""
    at = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=CHINA)
    rows = [thing(str(n)) | {"at": at if n % 2 else None, "data": {"n": n}, "bytes": b"\x00\xff"} for n in range(5)]
    with database.write() as session:
        insert_rows(session, THING, rows[:3])
        insert_rows(session, THING, rows, ignore=True)
        update_rows(
            session, THING, ("id",), [{"id": row["id"], "data": [], "name": f"new {row['id']!s}"} for row in rows[1:3]]
        )
        update_rows(session, THING, ("id",), [])
        insert_rows(session, THING, [])
    with database.read() as session:
        found = {row.id: row for row in session.execute(select(THING))}
    assert [found[row["id"]].at for row in rows] == [row["at"] for row in rows]
    assert [found[row["id"]].data for row in rows] == [{"n": 0}, [], [], {"n": 3}, {"n": 4}]
    assert found[rows[1]["id"]].name == f"new {rows[1]['id']!s}"
    assert {row.bytes for row in found.values()} == {b"\x00\xff"}


def test_very_many_rows_are_written_as_they_are_read(database: Database) -> None:
    """The same of as many as PostgreSQL copies; one that is there already is told, and nothing is kept."""
    at = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=CHINA)
    data = {"t": "\t\\N\n"}
    rows = [thing(str(n)) | {"at": at, "data": data | {"n": n}, "bytes": b"\x00\xff"} for n in range(COPY_ROWS)]
    with database.write() as session:
        insert_rows(session, THING, rows)
    with database.read() as session:
        found = {row.id: row for row in session.execute(select(THING))}
    assert [found[row["id"]].data for row in rows] == [row["data"] for row in rows]
    assert {(row.at, row.bytes) for row in found.values()} == {(at, b"\x00\xff")}
    more = [thing(f"more {n}") for n in range(COPY_ROWS - 1)]
    with pytest.raises(IntegrityError), database.write() as session:
        insert_rows(session, THING, [*more, thing("0")])
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(THING)).scalar_one() == COPY_ROWS


def test_insert_ignore_reports_other_faults(database: Database) -> None:
    """Only a key that is there is ignored: a broken reference is not."""
    with pytest.raises(IntegrityError), database.write() as session:
        insert_ignore(session, THING, [thing("a") | {"counter": 77}])


@pytest.mark.parametrize(
    "instant",
    [
        datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=CHINA),
        datetime(2026, 3, 2, 1, 30, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    ],
)
def test_instants_come_back_in_utc(database: Database, instant: datetime) -> None:
    """Aware, equal, to the microsecond; SQLite alone would hand back naive ones."""
    with database.write() as session:
        session.execute(insert(THING), [thing("a") | {"at": instant}])
    with database.read() as session:
        stored = session.execute(select(THING.c.at)).scalar_one()
        assert session.execute(select(THING.c.name).where(THING.c.at == instant)).scalars().all() == ["a"]
        assert session.execute(select(THING.c.name).where(THING.c.at > instant)).scalars().all() == []
    assert stored == instant
    assert stored.tzinfo is UTC


def test_no_instant_is_no_instant(database: Database) -> None:
    """Null stays null."""
    with database.write() as session:
        session.execute(insert(THING), [thing("a") | {"at": None}])
        assert session.execute(select(THING.c.at)).scalar_one() is None


def test_naive_instants_are_refused(database: Database) -> None:
    """Nobody can know what they mean."""
    with pytest.raises(StatementError, match="naive"), database.write() as session:
        session.execute(insert(THING), [thing("a") | {"at": datetime(2026, 3, 2)}])  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize("value", [{"名": ["值", 1, 1.5, True, None, {}]}, [], "text", 0, False, {"": {"a": [[]]}}])
def test_json_comes_back_as_it_was(database: Database, value: object) -> None:
    """Any JSON value, not only objects."""
    with database.write() as session:
        session.execute(insert(THING), [thing("a") | {"data": value}])
    with database.read() as session:
        stored = session.execute(select(THING.c.data)).scalar_one()
    assert (stored, type(stored)) == (value, type(value))


def test_bytes_come_back_as_they_were(database: Database) -> None:
    """Every byte, zero included."""
    whole = bytes(range(256))
    with database.write() as session:
        session.execute(insert(THING), [thing("a") | {"bytes": whole}])
    with database.read() as session:
        assert session.execute(select(THING.c.bytes)).scalar_one() == whole


def test_text_is_compared_byte_by_byte(database: Database) -> None:
    """Ids sort alike everywhere: pages and merges rely on it."""
    words = ["a", "B", "b", "A", "é", "中", "_", "0", "10", "9", "~", "a b", "ab", "a-b", "a_b"]
    with database.write() as session:
        session.execute(insert(THING), [thing(word) for word in words])
    with database.read() as session:
        found = list(session.execute(select(THING.c.name).order_by(THING.c.name)).scalars())
    assert found == sorted(words, key=str.encode)


def test_a_closed_database_opens_again(database: Database) -> None:
    """Disposing closes connections and nothing else."""
    database.dispose()
    with database.write() as session:
        session.execute(insert(THING), [thing("a")])
    assert names(database) == {"a"}


def test_a_failed_statement_does_not_poison_the_pool(database: Database) -> None:
    """The connection goes back clean."""
    for _ in range(20):
        with pytest.raises(DBAPIError), database.read() as session:
            session.connection().exec_driver_sql("SELECT nothing FROM nowhere")
    assert names(database) == set()


def test_prepared_statements_bind_and_convert(database: Database) -> None:
    """Lists, instants and JSON go in and come out as through SQLAlchemy; the driver's faults are raised as its own."""
    at = datetime(2026, 3, 1, 8, tzinfo=CHINA)
    rows = [
        {"id": f"{number}", "name": f"n{number}", "at": at, "data": {"a": [1]}, "bytes": b"\x00", "counter": 1}
        for number in range(3)
    ]
    among = Prepared(
        select(THING.c.id, THING.c.at, THING.c.data, THING.c.bytes)
        .where(THING.c.counter == bindparam("counter"), THING.c.id.in_(bindparam("ids", expanding=True)))
        .order_by(THING.c.id),
        "ids",
    )
    advance = Prepared(update(COUNTER).values(value=COUNTER.c.value + bindparam("by")).returning(COUNTER.c.value))
    with database.write() as session:
        insert_rows(session, THING, rows)
        for ids in (["0", "2"], ["1"], ["9"]):
            found = among.rows(session, {"counter": 1, "ids": ids})
            assert found == [(one, at.astimezone(UTC), {"a": [1]}, b"\x00") for one in ids if one != "9"]
        assert among.row(session, {"counter": 2, "ids": ["0"]}) is None
        assert [advance.row(session, {"by": 2}) for _ in range(2)] == [(2,), (4,)]
    with pytest.raises(IntegrityError), database.write() as session:
        insert_rows(session, THING, rows)
