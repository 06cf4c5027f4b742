"""Backups of the platform's database, putting one back, and the new epoch that this begins.

A restored database has forgotten what was acknowledged after the backup. A new epoch tells every reader: cursors become
stale, handhelds push again what lies beyond the server's head, the central system starts its feed again. Erasures that
the backup does not know are replayed from the ledger before anybody is served; a proof log that is shorter than a head
the world knows is closed, and its successor begins with that head.
"""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from server.audit.service import SYSTEM, record_event
from server.db.engine import Database, sqlite_module
from server.db.shredding import shred
from server.errors import Problem
from server.fieldsync.erasure import SHREDDED, replay_ledger
from server.prooflog.service import log_size
from server.prooflog.succession import finish, kept_head, succeed
from server.records.service import new_epoch, server_state
from server.runtime import Runtime

MANIFEST_SUFFIX = ".json"
CACHES = ("snapshots", "digests")
"""Folders below the home whose content belongs to an epoch and can be made again."""


@dataclass(frozen=True)
class NewLife:
    """What came of putting a backup back."""

    epoch: str
    erasures_replayed: int
    log_closed: bool
    """Whether the proof log was closed and has a successor with a name of its own."""


def back_up(rt: Runtime, target: Path) -> dict[str, object]:
    """Copy the SQLite database to `target` while it is in use; returns what the copy holds, as its manifest says.

    Raises:
        Problem: `bad-request` for PostgreSQL, which has tools of its own, or a target that exists.
    """
    source = _sqlite_path(rt)
    if target.exists():
        raise Problem("bad-request", detail=f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    partial.unlink(missing_ok=True)
    driver = sqlite_module()
    with (
        contextlib.closing(driver.connect(str(source))) as reading,
        contextlib.closing(driver.connect(str(partial))) as copy,
    ):
        reading.backup(copy)
    copied = Database(f"sqlite:///{partial}")
    with copied.read() as session:
        state = server_state(session)
        manifest: dict[str, object] = {
            "taken_at_ms": rt.now_ms(), "epoch": state.epoch, "position": state.position, "log_size": log_size(session),
        }  # fmt: skip
    copied.dispose()
    for rest in ("-wal", "-shm", ".lock"):
        Path(f"{partial}{rest}").unlink(missing_ok=True)
    _sync(partial)
    partial.replace(target)
    Path(f"{target}{MANIFEST_SUFFIX}").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    _sync(target.parent)
    return manifest


def put_back(rt: Runtime, backup: Path) -> None:
    """Put a backup of the SQLite database in place of the present one; no program may run.

    The present database is kept beside it, as `….before-restore`, until somebody removes it. The schema must then be
    brought up to date, and a new life begun.

    Raises:
        Problem: `bad-request` for PostgreSQL, or a file that is no backup.
    """
    path = _sqlite_path(rt)
    check = Database(f"sqlite:///{backup}")
    try:
        with check.read() as session:
            server_state(session)
    except Exception as error:
        raise Problem("bad-request", detail=f"{backup} is no backup of this platform: {error}") from error
    finally:
        check.dispose()
    rt.db.dispose()
    for rest in ("", "-wal", "-shm"):
        present = Path(f"{path}{rest}")
        if present.exists():
            present.replace(f"{path}.before-restore{rest}")
    fresh = path.with_name(path.name + ".restoring")
    shutil.copyfile(backup, fresh)
    _sync(fresh)
    fresh.replace(path)
    _sync(path.parent)


def begin_new_life(rt: Runtime, last_head: str = "") -> NewLife:
    """After any restore: replay erasures, close a proof log that has become too short, begin a new epoch.

    Args:
        rt: the runtime over the restored database; no other program uses it yet.
        last_head: the newest signed head that the world knows, as a signed note; nothing: the one kept beside
            the database, if there is one.

    Raises:
        Problem: `bad-signature` for a head that this log's key has not signed.
        ValueError: the erasure ledger was changed.
    """
    last_head = last_head or kept_head(rt)
    with rt.db.write() as session:
        epoch = new_epoch(session, rt)
        replayed = replay_ledger(session, rt)
        closed = succeed(session, rt, last_head)
        detail = {"erasures": replayed, "log_closed": closed}
        record_event(session, rt, SYSTEM, "server.new-epoch", "server", epoch, detail)
    with rt.db.read() as session:
        finish(session, rt)
    if replayed:
        shred(rt.db, *SHREDDED)
    for name in CACHES:
        shutil.rmtree(rt.settings.home / name, ignore_errors=True)
    return NewLife(epoch, replayed, closed)


def _sqlite_path(rt: Runtime) -> Path:
    if not rt.db.is_sqlite:
        raise Problem(
            "bad-request", detail="PostgreSQL is backed up with its own tools; then run `fieldproof new-epoch`"
        )
    return Path(str(make_url(rt.settings.database_url).database))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
