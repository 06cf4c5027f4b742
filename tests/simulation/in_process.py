"""The real platform inside one process: copied from a template, restarted at will, crashing around its commits."""

import atexit
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import httpx
from flask import Flask
from sqlalchemy import Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.orm import Session

from device_sim.handheld.client import Handheld
from device_sim.handheld.outside import Outside
from schemas.identifiers import make_uscc
from server.accounts.models import Account
from server.app import create_app
from server.clock import to_ms
from server.config import Settings, load_secret, load_settings
from server.db.engine import BUSY_TIMEOUT_S, Database, _prepare_sqlite, sqlite_module
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import add_checklist, add_item
from server.entities.models import Entity
from server.entities.service import add_entities
from server.officers.models import Officer
from server.officers.service import add_officers
from server.prooflog.keys import load_key
from server.records.service import start_epoch
from server.restoring import back_up, begin_new_life, put_back
from server.runtime import Runtime
from server.tables import METADATA
from server.web.auth import issue_token

START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
REGION = "420106"
DEPARTMENT = "market"
OFFICERS = 4
PINS = tuple(f"{number}" * 6 for number in range(1, OFFICERS + 1))
"""By which the officers unlock a handheld."""
ENTITIES = 2
TOKEN_S = 10 * 365 * 86_400
"""Accounts of the simulation stay signed in: password hashing is slow on purpose and proven elsewhere."""
CRASH_BEFORE, CRASH_AFTER = "before the commit", "after the commit"

CrashPoint = Callable[[str], None]


class ServerCrash(BaseException):
    """The server process dies here. No `Exception`: nothing in the server may catch it."""


class SimClock:
    """The one true time; it moves only when the simulation says so."""

    def __init__(self) -> None:
        """Stand at the start."""
        self.instant = START

    def now(self) -> datetime:
        """Return where the clock stands."""
        return self.instant

    def advance(self, seconds: float) -> None:
        """Move on by whole milliseconds."""
        self.instant += timedelta(milliseconds=round(seconds * 1000))

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return round(self.instant.timestamp() * 1000)


_OPEN = {"path": ""}
"""The database file of the running platform; there is one at a time in a process."""


@cache
def _engine() -> Engine:
    """One engine for the process: compiling every statement anew would be most of the work of a run."""
    module = sqlite_module()
    engine = create_engine(
        "sqlite://", module=module, poolclass=QueuePool,
        creator=lambda: module.connect(_OPEN["path"], timeout=BUSY_TIMEOUT_S),
    )  # fmt: skip
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


class CrashingDatabase(Database):
    """A database that tells, around each commit, that the process could die now."""

    def __init__(self, url: str, crash_point: CrashPoint) -> None:
        """Open the database at a URL, with connections of its own."""
        super().__init__(url)
        self._crash_point = crash_point

    def _open_sqlite(self, url: str) -> Engine:
        real = super()._open_sqlite(url)  # makes the writer's lock
        real.dispose()
        _engine().dispose()
        _OPEN["path"] = str(make_url(url).database)
        return _engine()

    def _open_readers(self, url: str) -> Engine:
        return self.engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        """As the real one; a crash before the commit rolls back, as the dead process's journal would be."""
        with super().write() as session:
            yield session
            self._crash_point(CRASH_BEFORE)
        self._crash_point(CRASH_AFTER)


@dataclass(frozen=True)
class Template:
    """What every run starts from: a seeded home folder and the ids in it."""

    home: Path
    handhelds: tuple[Path, ...]
    """Folders of approved handhelds that have not synced yet, one for each officer."""
    officers: tuple[str, ...]
    accounts: tuple[str, ...]
    operator: str
    second_operator: str
    entities: tuple[str, ...]
    checklist: str
    item: str


@cache
def template() -> Template:
    """Make the template once per process, below the fastest temporary folder there is, always with the same ids."""
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-simulate-", dir=fast_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = folder / "home"
    home.mkdir()
    settings = _settings(home)
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    rt = Runtime(settings, database, SimClock(), random.Random("template").randbytes)
    settings.keys_dir.mkdir()
    for name in ("jwt", "cursor", "proof-log"):
        (settings.keys_dir / f"{name}.secret").write_text(rt.random_bytes(32).hex())
        load_secret(settings, name)
    load_key(settings)
    with database.write() as session:
        start_epoch(session, rt)
        made = _seed(session, rt, home)
    made = replace(made, handhelds=_enrolled(rt, made, folder))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.dispose()
    return made


def fast_folder() -> str | None:
    """Memory-backed where there is such a folder: the simulation's crashes are its own, not the disk's."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - only a place for mkdtemp


def _settings(home: Path) -> Settings:
    return load_settings({"FIELDPROOF_HOME": str(home)})


def _seed(session: Session, rt: Runtime, home: Path) -> Template:
    officers = tuple(rt.new_id() for _ in range(OFFICERS))
    people = [
        Officer(
            id=officer, name=f"张样例{number}", certificate_number=f"HB-{number:04}", region=REGION,
            department=DEPARTMENT, certificate_valid_until=START + timedelta(days=3650),
        )
        for number, officer in enumerate(officers)
    ]  # fmt: skip
    add_officers(session, rt, people, author="simulation")
    item, checklist = rt.new_id(), rt.new_id()
    body = make_uscc("91", REGION, "00000001")
    row = SupervisionItem(id=item, code="42010000000001", name="食品经营检查", basis="样例", department=DEPARTMENT)
    add_item(session, rt, row, author="simulation")
    sub_items = [{"number": str(number), "text": f"样例事项 {number}"} for number in range(1, 4)]
    version = Checklist(id=checklist, code=f"{body}1001", version=1, name="样例清单", item=item, sub_items=sub_items)
    add_checklist(session, rt, version, author="simulation")
    entities = tuple(rt.new_id() for _ in range(ENTITIES))
    rows = [
        Entity(
            id=entity, name=f"样例食品店{number}", nature="2", uscc=make_uscc("91", REGION, f"{number + 2:08}"),
            registered_address="样例路 1 号", operating_address="样例路 1 号", region="420106001",
            lat=30.55, lon=114.31, datum="WGS-84",
        )
        for number, entity in enumerate(entities)
    ]  # fmt: skip
    add_entities(session, rt, rows, author="simulation")
    accounts = tuple(_account(session, rt, "officer", officer) for officer in officers)
    operator, second = (_account(session, rt, "operator", None) for _ in range(2))
    return Template(home, (), officers, accounts, operator, second, entities, checklist, item)


def _enrolled(rt: Runtime, made: Template, folder: Path) -> tuple[Path, ...]:
    """Enrol and approve a handheld for each officer, as every run would begin with doing."""
    app, clock = create_app(rt), rt.clock
    outside = Outside(lambda: to_ms(clock.now()), lambda: 0, rt.random_bytes, random.Random(0).random)
    found = []
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://platform.example") as client:
        for number, (officer, account) in enumerate(zip(made.officers, made.accounts, strict=True)):
            found.append(folder / f"device-{number}")
            handheld = Handheld(found[-1], client, outside=outside)
            token = issue_token(rt, "account", account, TOKEN_S).text
            handheld.enrol(token, officer, found[-1].name, pin=PINS[number])
            operator = {"Authorization": f"Bearer {issue_token(rt, 'account', made.operator, TOKEN_S).text}"}
            client.post(f"/api/v1/devices/{handheld.device}/approve", headers=operator).raise_for_status()
            handheld.close()
    return tuple(found)


def _account(session: Session, rt: Runtime, role: str, officer: str | None) -> str:
    account = rt.new_id()
    session.add(
        Account(
            id=account, login=account, password_hash="!", role=role, name="样例", region="42", department="",
            officer=officer, disabled=False, failures=0,
        )
    )  # fmt: skip
    session.flush()
    return account


@cache
def application() -> Flask:
    """One application for the process: all that it remembers is its runtime, which every start replaces."""
    home = template().home
    return create_app(Runtime(_settings(home), Database(_settings(home).database_url), SimClock(), random.randbytes))


class Platform:
    """The running server of one run."""

    def __init__(self, folder: Path, seed: int, clock: SimClock) -> None:
        """Copy the template into `folder` and start."""
        self.template = template()
        self.home = folder / "home"
        shutil.copytree(self.template.home, self.home)
        self.clock = clock
        self.random = random.Random(f"server {seed}")
        self.crash_in: tuple[int, str] | None = None
        """After how many more commits the server dies, and on which side of that commit."""
        self.starts = 0
        self.restores = 0
        self.backup: Path | None = None
        self.app = application()
        self.start()

    def start(self) -> None:
        """Start (again): a new runtime over the same files."""
        settings = _settings(self.home)
        self.rt = Runtime(
            settings, CrashingDatabase(settings.database_url, self._crash_point), self.clock, self.random.randbytes
        )
        self.app.extensions["fieldproof"] = self.rt
        self.starts += 1

    def restart(self) -> None:
        """Die and start again."""
        self.stop()
        self.start()

    def back_up(self) -> None:
        """Copy the database while it is in use, as an administrator would."""
        self.backup = self.home.parent / "backup.db"
        self.backup.unlink(missing_ok=True)
        back_up(self.rt, self.backup)

    def restore(self) -> None:
        """Put the backup back and begin a new epoch; what was acknowledged since is forgotten."""
        if self.backup is None:
            return
        self.stop()
        put_back(self.rt, self.backup)
        self.start()
        begin_new_life(self.rt)
        self.restores += 1

    def stop(self) -> None:
        """Close what is open."""
        self.crash_in = None
        self.rt.db.dispose()

    def _crash_point(self, side: str) -> None:
        if self.crash_in is None or self.crash_in[1] != side:
            return
        left = self.crash_in[0] - 1
        self.crash_in = (left, side) if left > 0 else None
        if left <= 0:
            raise ServerCrash(side)

    def bearer(self, account: str) -> dict[str, str]:
        """Headers of a signed-in account."""
        return {"Authorization": f"Bearer {issue_token(self.rt, 'account', account, TOKEN_S).text}"}
