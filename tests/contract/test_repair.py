"""Repairing damaged records where there are several writers at once."""

from typing import Any

import pytest
from sqlalchemy import update

from server.fieldsync import scrub
from server.records.models import SyncedRecord
from server.records.service import OfficeChange, get_view, office_write_many
from server.runtime import Runtime
from tests.field_device import make_world


@pytest.mark.parametrize("rt", ["postgresql"], indirect=True)
def test_what_is_written_during_a_repair_stays(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """An act that arrives after the record was found damaged, and before it is put right, is in the repaired line."""
    key = ("entity", make_world(rt).entity)
    with rt.db.write() as session:
        line = session.get_one(SyncedRecord, key).line
        damage = update(SyncedRecord).where(SyncedRecord.id == key[1])
        session.execute(damage.values(line=line.replace("样例食品店".encode(), "样例食品府".encode())))
    damaged, written = scrub.damaged, list[str]()

    def damaged_then_written(*arguments: Any) -> dict[tuple[str, str], bytes]:  # noqa: ANN401 - handed on
        found = damaged(*arguments)
        if not written:
            written.append("now")
            with rt.db.write() as other:
                office_write_many(other, rt, [OfficeChange(*key, {"nature": "3"}, "test")])
        return found

    monkeypatch.setattr(scrub, "damaged", damaged_then_written)
    with rt.db.write() as session:
        assert scrub.repair(session, rt, [key]) == [key]
    with rt.db.read() as session:
        view = get_view(session, *key)
        assert view is not None
        assert (view["name"], view["nature"]) == ("样例食品店", "3")
        assert scrub.damaged_among(session, [key]) == {}
