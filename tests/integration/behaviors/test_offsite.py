"""Off-site supervision as a behavior: once for a lead, by two officers who may act."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.behaviors.models import Behavior
from server.behaviors.offsite import OffsiteFinding, create_offsite_behavior
from server.behaviors.service import content_of
from server.errors import Problem
from server.runtime import Runtime
from tests.field_device import World, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


def finding(rt: Runtime, world: World) -> OffsiteFinding:
    """What two officers established from data."""
    return OffsiteFinding(rt.new_id(), world.entity, world.checklist, world.officers, rt.now(), "03")


def test_a_finding_becomes_one_behavior(rt: Runtime, world: World) -> None:
    """An inspection by the method off site, with the national fields; the same lead gives no second one."""
    found = finding(rt, world)
    with rt.db.write() as session:
        behavior = create_offsite_behavior(session, rt, found, author="a-1")
        row = session.get_one(Behavior, (behavior, 1))
        content = content_of(row)
        with pytest.raises(Problem) as again:
            create_offsite_behavior(session, rt, found, author="a-1")
    assert (row.kind, row.entity, row.region) == ("inspection", world.entity, "420106001")
    assert (content["method"], content["category"], content["result"]) == ("02", "05", "03")
    assert [one["certificate_number"] for one in content["officers"]] == ["HB-0000", "HB-0001"]
    assert (again.value.code, again.value.field) == ("conflict", "number")


def test_officers_must_be_two_and_fit(rt: Runtime, world: World) -> None:
    """One officer, one twice, an unknown one, or one whose certificate had run out: refused, and why is said."""
    good = finding(rt, world)
    late = rt.now() + timedelta(days=400)
    for wrong, reason in (
        (replace(good, officers=world.officers[:1]), "two officers"),
        (replace(good, officers=world.officers[:1] * 2), "two officers"),
        (replace(good, officers=(world.officers[0], rt.new_id())), "no officer"),
        (replace(good, established_at=late), "certificate-expired"),
    ):
        with rt.db.write() as session, pytest.raises(Problem, match=reason) as caught:
            create_offsite_behavior(session, rt, wrong, author="a-1")
        assert caught.value.field == "officers"
