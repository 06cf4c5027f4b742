"""The registers whose records are versions: supervision items and behaviors. History is told by version."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.divisions import full_name
from server.behaviors.models import Behavior
from server.behaviors.service import BehaviorFilter, content_of, list_behaviors, versions_of
from server.directory.contents import ITEMS as ITEM_REGISTER
from server.directory.contents import LABELS, differences
from server.directory.versions import find_versions, list_versions
from server.pages import labels
from server.pages.shelf_values import PAGE, Choice, Line, Sheet, Step, said
from server.web.principal import Principal

CODED = {"item_type": "behavior_kind", "level": "exercise_level", "sector": "sector"}
BEHAVIOR_FACTS = {
    "number": ("编号", "number"), "name": ("行为名称", "name"), "item_code": ("监管事项", "item"),
    "checklist_code": ("检查清单", "checklist"), "implementing_body": ("实施机构", "implementing body"),
    "result": ("结果", "result"), "inspected_at": ("时间", "time"), "inspection_number": ("检查编号", "inspection"),
}  # fmt: skip
"""Fields of a behavior that are shown; who it is about may be a citizen, and is left out."""


def _words(zh: str, en: str) -> str:
    return zh if labels.is_chinese() else en


def _offered(name: str, zh: str, en: str, table: str) -> Choice:
    codes = code_table(table).current.entries
    return Choice(name, _words(zh, en), tuple((code, labels.coded(table, code)) for code in codes))


class ItemShelf:
    """Supervision items, those in force."""

    name = "items"

    @property
    def title(self) -> str:
        """Its name in the reader's language."""
        return _words("监管事项库", "supervision items")

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Its filters."""
        return (_offered("sector", *LABELS["sector"], "sector"),)

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of a list's columns beside the title and the division."""
        return tuple(_words(*LABELS[name]) for name in ("department", "sector", "item_type"))

    def find(
        self, session: Session, _caller: Principal, q: str, filters: Mapping[str, str], after: str
    ) -> tuple[list[Line], str]:
        """Return a page of items, and where the next begins; the directory is the same for everybody."""
        found = find_versions(session, ITEM_REGISTER, q=q, exact=filters, after=after, limit=PAGE)
        lines = []
        for one in found:
            cells = (one.content["department"], *(self._value(one.content, name) for name in ("sector", "item_type")))
            lines.append(Line(one.code, one.name, one.code, cells, ""))
        return lines, f"{found[-1].code}~{found[-1].version}" if len(found) == PAGE else ""

    def _value(self, content: Mapping[str, str], name: str) -> str:
        value = content.get(name, "")
        return labels.coded(CODED[name], value) if name in CODED and value else value

    def show(self, session: Session, _caller: Principal, record: str) -> Sheet:
        """Return an item with its versions.

        Raises:
            Problem: `not-found`.
        """
        versions = list_versions(session, ITEM_REGISTER, record)
        last, steps = versions[-1], []
        for before, one in zip([None, *versions], versions, strict=False):
            changes = differences(before.content if before else {}, one.content)
            told = tuple((_words(*LABELS[c["path"]]), said(c["before"]), said(c["after"])) for c in changes)
            steps.append(Step(one.created_at, one.author[:36], f"v{one.version} · {one.state}", one.reason, told))
        facts = [(_words(*LABELS[name]), self._value(last.content, name)) for name in LABELS if name in last.content]
        return Sheet(last.name, last.code, "", tuple(facts), tuple(reversed(steps)))


class BehaviorShelf:
    """Supervision behaviors, their current versions."""

    name = "behaviors"

    @property
    def title(self) -> str:
        """Its name in the reader's language."""
        return _words("监管行为库", "supervision behaviors")

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Its filters."""
        return (_offered("kind", "类别", "kind", "behavior_kind"),)

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of a list's columns beside the title and the division."""
        return _words("类别", "kind"), _words("结果", "result"), _words("部门", "department")

    def find(
        self, session: Session, caller: Principal, q: str, filters: Mapping[str, str], after: str
    ) -> tuple[list[Line], str]:
        """Return a page of behaviors, newest first, and where the next begins; `q` is a whole number."""
        found = list_behaviors(
            session, caller, BehaviorFilter(number=q, kind=filters.get("kind", "")), after=after, limit=PAGE
        )
        return [self._line(one) for one in found], found[-1].id if len(found) == PAGE else ""

    def _line(self, one: Behavior) -> Line:
        kind, result = labels.coded("behavior_kind", one.kind), labels.result_label(one.result, one.inspected_at)
        title = str(content_of(one).get("name", one.number))
        return Line(one.id, title, one.number, (kind, result, one.department), full_name(one.region))

    def show(self, session: Session, caller: Principal, record: str) -> Sheet:
        """Return a behavior with its versions.

        Raises:
            Problem: `not-found`.
        """
        versions = versions_of(session, caller, record)
        contents = [self._told(one) for one in versions]
        steps = []
        for number, one in enumerate(versions):
            before = contents[number - 1] if number else {}
            changed = [name for name, value in contents[number].items() if before.get(name) != value]
            told = tuple((name, said(before.get(name)), contents[number][name]) for name in changed)
            steps.append(Step(one.created_at, "", f"v{one.version} · {one.status}", "", told))
        last = versions[-1]
        title = str(content_of(last).get("name", last.number))
        facts = tuple(contents[-1].items())
        return Sheet(title, last.number, full_name(last.region), facts, tuple(reversed(steps)))

    def _told(self, one: Behavior) -> dict[str, str]:
        content = content_of(one)
        found = {_words(*label): str(content[name]) for name, label in BEHAVIOR_FACTS.items() if content.get(name)}
        found[_words("结果", "result")] = labels.result_label(one.result, one.inspected_at)
        return found


ITEMS, BEHAVIORS = ItemShelf(), BehaviorShelf()
VersionedShelf = ItemShelf | BehaviorShelf
