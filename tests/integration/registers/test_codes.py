"""Codes in the registers: labels of a record's day, and codes that have left their table since."""

from dataclasses import replace
from typing import cast

import pytest
from sqlalchemy import select

from schemas.codes import Code, CodeEntry, code_table
from server.complaints.models import Complaint
from server.complaints.register import KEEPER as COMPLAINTS
from server.runtime import Runtime
from tests.field_device import body
from tests.integration.registers.conftest import Rows, Send, complaint, entered


def test_codes_keep_the_label_of_their_day(send: Send, entities: Rows) -> None:
    """A complaint of 2018 shows the channel's name of 2018, one of 2020 that of 2020; the table serves both."""
    for number, day, label in (
        ("TS-1", "2018-05-06", "12315 消费者投诉举报热线"), ("TS-2", "2020-05-06", "全国 12315 平台"),
    ):  # fmt: skip
        made = entered(send, "complaints", complaint(number, received_at=day))
        assert made["labels"]["channel"][0]["zh"] == label
        shown = body(send("GET", f"/codes/complaint_channel/12315?on={day}"))
        assert (shown["zh"], shown["code"]) == (label, "12315")
    assert [v["version"] for v in body(send("GET", "/codes/complaint_channel"))["versions"]] == [1, 2, 3]
    assert send("GET", "/codes/complaint_channel/99").status_code == 404


def test_a_code_that_has_left_its_table_comes_back_with_its_record(
    send: Send, entities: Rows, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old record keeps the code of its day through export and import; a new one, or a later day, may not have it."""
    old, new = complaint("TS-1", received_at="2018-05-06"), complaint("TS-2", received_at="2022-05-06")
    for record in (old, new):
        entered(send, "complaints", record)
    with rt.db.write() as session:
        for row in session.execute(select(Complaint)).scalars():
            row.channel = "fax"
    former = code_table("complaint_channel")
    fax = {"fax": CodeEntry("fax", "传真", "Fax")}
    versions = (replace(former.versions[0], entries={**former.versions[0].entries, **fax}), *former.versions[1:])
    field = cast(Code, COMPLAINTS.register.schema._declared_fields["channel"])
    monkeypatch.setattr(field, "table", replace(former, versions=versions))
    exported = send("GET", "/complaints/export?format=json").get_json()
    assert {row["channel"] for row in exported} == {"fax"}
    report = body(
        send("POST", "/complaints/import?reason=x", json=[*exported, {**old, "number": "TS-3", "channel": "fax"}])
    )
    assert (report["unchanged"], report["refused"], report["by_field"]) == (1, 2, {"channel": 2})
    assert [one["row"] for one in report["refusals"]] == [2, 3]
