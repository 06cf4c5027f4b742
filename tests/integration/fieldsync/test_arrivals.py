"""Segments that arrive together: one commit for all, one reply for each, and a refused one harms nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.devices.standing import load_principal
from server.errors import Problem
from server.fieldsync.arrivals import Arrival, take_in_together
from server.records.models import Act
from server.runtime import Runtime
from tests.field_device import FieldDevice, World, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def devices(rt: Runtime, world: World) -> list[FieldDevice]:
    """Two handhelds, each with an act on the inspection."""
    found = [FieldDevice(rt, officer, number) for number, officer in enumerate(world.officers[:2], 1)]
    for device in found:
        device.write("inspection", world.inspection, {"notes": f"备注 {device.id}"})
    return found


def arrival(rt: Runtime, device: FieldDevice, data: bytes | None = None) -> Arrival:
    """A device's whole journal, or other bytes, as they arrive."""
    with rt.db.read() as session:
        caller = load_principal(session, device.id)
    return Arrival(caller, device.segment() if data is None else data, None, None)


def stored(rt: Runtime) -> int:
    """How many acts of devices are stored."""
    with rt.db.read() as session:
        return session.execute(select(func.count()).where(Act.device.is_not(None))).scalar_one()


@contextmanager
def counted(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count write transactions."""
    real, begun = rt.db.write, list[int]()

    @contextmanager
    def write() -> Iterator[Session]:
        begun.append(1)
        with real() as session:
            yield session

    monkeypatch.setattr(rt.db, "write", write)
    yield begun
    monkeypatch.undo()


def test_they_share_a_transaction_and_get_their_own_replies(
    rt: Runtime, devices: list[FieldDevice], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each is told is what it is told again when it asks alone."""
    waiting = [arrival(rt, device) for device in devices]
    with counted(rt, monkeypatch) as transactions:
        replies = take_in_together(rt, waiting)
    assert len(transactions) == 1
    for device, reply in zip(devices, replies, strict=True):
        assert isinstance(reply, list)
        assert device.push(client).data == b"\n".join(reply) + b"\n"
    assert stored(rt) == 2


def test_a_refused_one_harms_nobody(rt: Runtime, devices: list[FieldDevice], world: World) -> None:
    """A bad frame is refused before anything is written; a fork is told of under the lock, and the others go alone."""
    first, second = devices
    take_in_together(rt, [arrival(rt, first)])
    forked = replace(first.acts[0], header=first.acts[0].header.replace(b'"mono_ms":1000', b'"mono_ms":1001'))
    fork = arrival(rt, first, first.segment(1, acts=[forked]))
    outcomes = take_in_together(rt, [arrival(rt, second), arrival(rt, first, b"{}"), fork, arrival(rt, first)])
    codes = [outcome.code if isinstance(outcome, Problem) else len(outcome) for outcome in outcomes]  # type: ignore[arg-type]
    assert codes == [2, "bad-request", "journal-fork", 2]
    assert stored(rt) == 2
