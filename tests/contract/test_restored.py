"""Handhelds and a restored server, the same on SQLite and PostgreSQL, which is put back by tools of its own."""

from typing import Any

from sqlalchemy import insert, select

from server.devices.keys import encode_key
from server.devices.models import Device
from server.records.models import Act
from server.restoring import begin_new_life
from server.runtime import Runtime
from server.tables import METADATA
from tests.integration.device_sim.conftest import (  # noqa: F401 - fixtures
    MakeHandheld,
    Platform,
    device_clock,
    handheld,
    platform,
    world,
)
from tests.integration.device_sim.test_handheld_sync import ALONE, dispatched, visits
from tests.integration.device_sim.test_lives import faults

Tables = dict[str, list[dict[str, Any]]]
RESTORED = [table for table in METADATA.sorted_tables if table.name != "audit_event"]
"""All tables but the trail, which lets nobody take anything out."""


def copied(rt: Runtime) -> Tables:
    """Every row of every table, as a backup has them."""
    with rt.db.read() as session:
        return {table.name: [dict(row) for row in session.execute(select(table)).mappings()] for table in RESTORED}


def put_back(rt: Runtime, tables: Tables) -> None:
    """Make the database what it was, and begin a new life."""
    with rt.db.write() as session:
        for table in reversed(RESTORED):
            session.execute(table.delete())
        for table in RESTORED:
            if tables[table.name]:
                session.execute(insert(table), tables[table.name])
    begin_new_life(rt)


def test_changes_of_key_that_were_forgotten_are_made_again(
    platform: Platform,  # noqa: F811 - a fixture
    handheld: MakeHandheld,  # noqa: F811 - a fixture
) -> None:
    """Two changes after the backup: the handheld signs in by the key of then, repeats both, and everything arrives."""
    rt, device = platform.rt, handheld()
    work = dispatched(platform, 1)
    device.sync()
    backup = copied(rt)
    device.change_key()
    visits(device, work, ALONE)[0].carry_out()
    device.sync()
    device.change_key()
    key = device.public_key
    with rt.db.read() as session:
        before = {(act.journal, act.seq): act.hash for act in session.scalars(select(Act)) if act.device}
    put_back(rt, backup)
    with rt.db.read() as session:
        assert session.get_one(Device, device.device).key_number == 1
    device.link._token = ""
    for _ in range(2):
        device.sync()
    with rt.db.read() as session:
        assert {(act.journal, act.seq): act.hash for act in session.scalars(select(Act)) if act.device} == before
        row = session.get_one(Device, device.device)
        assert (row.key_number, encode_key(row.public_key)) == (3, key)
    assert device.counts["keys_repeated"] == 1
    assert faults(rt) == []
