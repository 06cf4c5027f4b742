"""Filling a database for `bench growth`: the platform takes the copies for its own, and pushes go on above them."""

from flask.testing import FlaskClient
from sqlalchemy import func, select

from device_sim.bench.growth_suite import fill
from server.inspections.models import Inspection
from server.records.models import Act, RecordAssignee, ServerState, SyncedRecord
from server.runtime import Runtime
from tests.field_device import FieldDevice, make_world


def test_a_database_is_filled_with_copies_and_pushed_into(rt: Runtime, client: FlaskClient) -> None:
    """So many inspections, each with its act, officers and place in the feed, twice in a row; then a push on top."""
    world = make_world(rt)
    device = FieldDevice(rt, world.officers[0])
    record = rt.new_id()
    device.write("inspection", record, {"entity": world.entity, "officers": list(world.officers), "form": "01"})
    assert device.verdicts(client) == ["applied"]
    path = rt.settings.home / "fieldproof.db"
    with rt.db.read() as session:
        present = session.execute(select(func.count()).select_from(Inspection)).scalar_one()
    assert fill(path, record, 10) == 10 - present
    assert fill(path, record, 25) == 15
    assert fill(path, record, 25) == 0
    with rt.db.read() as session:
        assert session.execute(select(func.count()).select_from(Inspection)).scalar_one() == 25
        copies = select(func.count()).where(Act.record.in_(select(SyncedRecord.id)), Act.kind == "inspection")
        assert session.execute(copies.where(Act.device == device.id)).scalar_one() == 26 - present
        assigned = select(func.count()).where(RecordAssignee.kind == "inspection", RecordAssignee.active)
        assert session.execute(assigned).scalar_one() >= 25
        newest = session.execute(select(func.max(SyncedRecord.position))).scalar_one()
        assert session.get_one(ServerState, 1).position >= newest
    device.write("inspection", rt.new_id(), {"entity": world.entity, "officers": list(world.officers), "form": "01"})
    assert device.verdicts(client) == ["applied", "applied"]
