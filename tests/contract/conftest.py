"""The runtime of the contract suite: each test runs on SQLite and on a real PostgreSQL."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.config import load_settings
from server.db.engine import Database
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.conftest import FakeClock


@pytest.fixture(params=["sqlite", "postgresql"])
def rt(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Runtime]:
    """A runtime on either database, empty and set up."""
    settings = {"FIELDPROOF_HOME": str(tmp_path / "home")}
    if request.param == "postgresql":
        settings["FIELDPROOF_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    loaded = load_settings(settings)
    loaded.home.mkdir(parents=True)
    database = Database(loaded.database_url)
    METADATA.create_all(database.engine)
    runtime = Runtime(loaded, database, clock, random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, runtime)
    yield runtime
    database.dispose()
