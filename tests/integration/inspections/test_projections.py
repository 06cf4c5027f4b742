"""The table of inspections follows the records: it is written where it would say something else, and only there."""

from datetime import timedelta

from flask.testing import FlaskClient

from server.inspections.models import Inspection
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.field_device import FieldDevice, make_world


def test_only_what_the_row_holds_writes_it(rt: Runtime, client: FlaskClient, clock: FakeClock) -> None:
    """Notes of an open inspection leave its row alone; a result does not, and after submission any change tells."""
    world = make_world(rt)
    device = FieldDevice(rt, world.officers[0])
    seen = frozenset(act["dot"] for one in device.pull(client) if one["id"] == world.inspection for act in one["acts"])

    def written(fields: dict[str, str]) -> Inspection:
        nonlocal seen
        clock.advance(timedelta(minutes=1).total_seconds())
        device.write("inspection", world.inspection, fields, sorted(seen))
        seen = seen | {f"{device.journal}:{len(device.acts)}"}
        assert device.verdicts(client)[-1] == "applied"
        with rt.db.read() as session:
            return session.get_one(Inspection, world.inspection)

    first = written({"result": "1"})
    assert (first.result, first.status, first.check_after) == ("1", "open", rt.now())
    again = written({"notes": "通风正常"})
    assert again.check_after == first.check_after
    submitted = written({"status": "submitted"})
    assert (submitted.status, submitted.submitted_at) == ("submitted", rt.now())
    assert written({"notes": "补充"}).check_after == rt.now()
