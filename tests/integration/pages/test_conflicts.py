"""The pages of conflicts: both sides and their base, a decision by form, and what a form may not do."""

import re

import pytest
from sqlalchemy import update

from server.pages import conflicts
from server.records.lines import Placement, decode_state
from server.records.models import Conflict, SyncedRecord
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from sync.dots import Dot
from sync.registers import DELETED
from tests.e2e.pages_world import DEPARTMENT, World, device_act
from tests.integration.pages.conftest import Browser, decision


def test_conflict_page_shows_base_and_sides(browser: Browser, world: World) -> None:
    """The page names the entity, both values, who wrote them on which handheld, and when in Beijing time."""
    text = browser(world.operator).get(f"/conflicts/{world.conflict}").text
    for words in (
        "示例食品厂0",
        "未发现问题",
        "发现问题已责令改正",
        "张样例",
        "李样例",
        "手持终端-01",
        "手持终端-09",
        "鄂-样例-1",
    ):
        assert words in text
    assert "尚未填写" in text
    assert "2026-03-02 09:00" in text
    assert text.count('name="choice"') == 3


def test_deciding_a_conflict(browser: Browser, rt: Runtime, world: World) -> None:
    """A decision with a reason is kept and shown with its chooser; the conflict leaves the list of open ones."""
    client = browser(world.operator)
    answer = client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world))
    assert (answer.status_code, answer.location) == (303, f"/conflicts/{world.conflict}")
    text = client.get(answer.location).text
    for words in ("已裁定", "照片为证", "样例operator", "采用"):
        assert words in text
    assert 'name="choice"' not in text
    assert world.conflict not in client.get("/conflicts").text
    assert world.conflict in client.get("/conflicts?state=decided").text
    with rt.db.read() as session:
        row = session.get_one(Conflict, world.conflict)
        assert (row.status, row.decided_by, row.reason) == ("decided", world.operator, "照片为证")
        assert row.decision is not None
        assert row.decision["value"] == "03"


def test_deciding_for_another_value(browser: Browser, rt: Runtime, world: World) -> None:
    """A person may find that neither side is right."""
    client = browser(world.operator)
    form = decision(rt, client, world, choice=conflicts.OTHER, value="02")
    assert client.post(f"/conflicts/{world.conflict}", data=form).status_code == 303
    text = client.get(f"/conflicts/{world.conflict}").text
    assert "发现问题已当场改正" in text
    assert "采用</span>" not in text


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"reason": ""}, 422, "请填写理由"),
        ({"reason": "  "}, 422, "请填写理由"),
        ({"choice": None}, 422, "请选择以哪一方为准"),
        ({"choice": "nobody:1"}, 422, "请选择以哪一方为准"),
        ({"choice": conflicts.OTHER}, 422, "请给出另定的值"),
        ({"choice": conflicts.OTHER, "value": "x" * 5000}, 422, "请给出另定的值"),
        ({"sides": []}, 409, "已有变化"),
        ({"choice": conflicts.OTHER, "value": "x" * 21}, 422, "字段无效"),
    ],
)
def test_bad_decisions_come_back_with_the_form(
    browser: Browser, rt: Runtime, world: World, changes: dict[str, object], status: int, words: str
) -> None:
    """A faulty form changes nothing, says what is wrong, and keeps what was written."""
    client = browser(world.operator)
    form = decision(rt, client, world, **changes)
    answer = client.post(f"/conflicts/{world.conflict}", data=form)
    assert answer.status_code == status
    assert words in answer.text
    assert str(form["reason"]).strip() in answer.text
    with rt.db.read() as session:
        assert session.get_one(Conflict, world.conflict).status == "open"


def test_a_second_decision_is_refused(browser: Browser, rt: Runtime, world: World) -> None:
    """Whoever decides late learns that it is settled."""
    client = browser(world.operator)
    form = decision(rt, client, world)
    client.post(f"/conflicts/{world.conflict}", data=form)
    late = client.post(f"/conflicts/{world.conflict}", data=form)
    assert late.status_code == 409
    assert "已经了结" in late.text


def test_forms_need_their_token(browser: Browser, rt: Runtime, world: World) -> None:
    """A decision without the session's form token is refused."""
    client = browser(world.operator)
    answer = client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world, csrf=None))
    assert answer.status_code == 403


def test_an_auditor_reads_and_does_not_decide(browser: Browser, rt: Runtime, world: World) -> None:
    """An auditor sees everything and has no form; a form sent all the same is refused."""
    client = browser(world.auditor)
    page = client.get(f"/conflicts/{world.conflict}")
    assert 'name="choice"' not in page.text
    assert "您可以查阅" in page.text
    assert client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world)).status_code == 403


def test_a_dissolved_conflict_says_so(browser: Browser, rt: Runtime, world: World) -> None:
    """Where the sides came to agree by themselves, nothing is left to decide."""
    with rt.db.write() as session:
        session.execute(update(Conflict).values(status="dissolved", ended_at=rt.now()))
    client = browser(world.operator)
    assert "无需裁定" in client.get(f"/conflicts/{world.conflict}").text
    assert world.conflict in client.get("/conflicts?state=dissolved").text


def delete_unseen(rt: Runtime, world: World) -> str:
    """Delete an inspection on one handheld while the other edits it; return the conflict that this makes."""
    inspection, first, second = world.inspections[1], Dot(world.journals[0], 2), Dot(world.journals[1], 2)
    (writer, deleter), (first_device, second_device) = world.officers, world.devices
    with rt.db.write() as session:
        device_act(session, rt, inspection, {"scene": "现场照常营业"}, dot=first, officer=writer, device=first_device)
        record = session.get_one(SyncedRecord, ("inspection", inspection))
        seen = decode_state(record.line).live_dots() - {first}
        device_act(
            session, rt, inspection, {}, dot=second, officer=deleter, device=second_device, seen=seen, delete=True
        )
        return session.query(Conflict.id).filter_by(record=inspection, field=DELETED).scalar() or ""


@pytest.mark.parametrize("keep", [True, False])
def test_a_deletion_stands_or_falls(browser: Browser, rt: Runtime, world: World, *, keep: bool) -> None:
    """Where one side deleted what the other still wrote, a person says whether the record stays; no value is asked."""
    conflict = delete_unseen(rt, world)
    client = browser(world.operator)
    assert conflict in client.get("/conflicts").text
    text = client.get(f"/conflicts/{conflict}").text
    for words in ("记录被删除", "记录保留", "手持终端-09"):
        assert words in text
    assert 'value="other"' not in text
    sides = re.findall(r'name="sides" value="([^"]+)"', text)
    deletion = f"{world.journals[1]}:2"
    choice = next(dot for dot in sides if dot != deletion) if keep else deletion
    form = decision(rt, client, world, sides=sides, choice=choice)
    assert client.post(f"/conflicts/{conflict}", data=form).status_code == 303
    assert "已裁定" in client.get(f"/conflicts/{conflict}").text
    with rt.db.read() as session:
        assert session.get_one(SyncedRecord, ("inspection", world.inspections[1])).deleted is not keep


def test_a_conflict_in_an_answer_names_the_entity(browser: Browser, rt: Runtime, world: World) -> None:
    """A checklist answer belongs to an inspection, and is told under its entity's name; office acts name the office."""
    answer, inspection = rt.new_id(), world.inspections[2]
    place = Placement("420602", DEPARTMENT, parent=inspection)
    fields = {"inspection": inspection, "number": "1", "outcome": "pass"}
    with rt.db.write() as session:
        office_write_many(session, rt, [OfficeChange("answer", answer, fields, world.operator, place)])
        unseen = OfficeChange("answer", answer, {"outcome": "fail"}, world.operator, seen=frozenset())
        office_write_many(session, rt, [unseen])
        conflict = session.query(Conflict.id).filter_by(record=answer).scalar()
    client = browser(world.operator)
    text = client.get(f"/conflicts/{conflict}").text
    for words in ("示例食品厂2", "检查项结果", "合格", "不合格", "后台", "样例operator"):
        assert words in text
    assert "示例食品厂2" in client.get("/conflicts").text


def test_a_decision_of_what_is_not_there(browser: Browser, rt: Runtime, world: World) -> None:
    """A conflict outside one's scope cannot be decided either: it does not exist for one."""
    client = browser(world.operator)
    assert client.post(f"/conflicts/{rt.new_id()}", data=decision(rt, client, world)).status_code == 404


def test_long_lists_are_cut(browser: Browser, rt: Runtime, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list says so when it does not show everything, and says nothing when it does."""
    monkeypatch.setattr(conflicts, "LIST_LIMIT", 1)
    client = browser(world.operator)
    assert "仅显示前" not in client.get("/conflicts").text
    assert delete_unseen(rt, world)
    assert "仅显示前 1 条" in client.get("/conflicts").text
