"""Fixtures shared by all tests: a runtime on a temporary home, a clock that stands still, an application, sign-in."""

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from server.accounts import service as accounts
from server.accounts.models import Account
from server.app import create_app
from server.config import load_settings
from server.db.engine import Database
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from server.web.auth import issue_token

pytest_plugins = ["tests.plugins.postgres", "tests.plugins.seaweedfs"]

START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime = START) -> None:
        """Stand at `start`."""
        self.instant = start

    def now(self) -> datetime:
        """Return where the clock stands."""
        return self.instant

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.instant += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(scope="session", autouse=True)
def platforms_password_hash() -> Iterator[str]:
    """How the platform keeps passwords. In tests it keeps them the quick way: its own is slow by design."""
    with pytest.MonkeyPatch.context() as patch:
        own = accounts.HASH_METHOD
        patch.setattr(accounts, "HASH_METHOD", "pbkdf2:sha256:1")
        yield own


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows: copying it is much quicker than making it for each test."""
    path = tmp_path_factory.mktemp("template") / "fieldproof.db"
    database = Database(f"sqlite:///{path}")
    METADATA.create_all(database.engine)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.dispose()
    return path


@pytest.fixture
def rt(tmp_path: Path, clock: FakeClock, empty_database: Path) -> Iterator[Runtime]:
    """A runtime on SQLite in a temporary home, with seeded randomness."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path / "home")})
    settings.home.mkdir(parents=True)
    shutil.copyfile(empty_database, settings.home / "fieldproof.db")
    database = Database(settings.database_url)
    runtime = Runtime(settings, database, clock, random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, runtime)
    yield runtime
    database.dispose()


@pytest.fixture
def session(rt: Runtime) -> Iterator[Session]:
    """A write session that is rolled back."""
    with rt.db.sessions() as opened:
        opened.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield opened
        opened.rollback()


@pytest.fixture(scope="session")
def wired_app() -> Flask:
    """The application, wired once: all it keeps between requests is the runtime."""
    return create_app(cast(Runtime, None))


@pytest.fixture
def app(rt: Runtime, wired_app: Flask) -> Flask:
    """The application over the runtime."""
    wired_app.extensions["fieldproof"] = rt
    return wired_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that calls the application in this process."""
    return app.test_client()


SignIn = Callable[..., dict[str, str]]


@pytest.fixture
def sign_in(rt: Runtime) -> SignIn:
    """Make an account with a role and scope; returns the headers that carry its token."""

    def make(
        role: str = "operator", region: str = "42", department: str = "", officer: str | None = None
    ) -> dict[str, str]:
        account = rt.new_id()
        with rt.db.write() as session:
            session.add(
                Account(
                    id=account, login=account, password_hash="!", role=role, name="样例", region=region,
                    department=department, officer=officer, disabled=False, failures=0,
                )
            )  # fmt: skip
        return {"Authorization": f"Bearer {issue_token(rt, 'account', account, 3600).text}"}

    return make
