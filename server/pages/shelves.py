"""What the register pages show: each of the eight base registers as a list that can be searched, and its records.

Registers that are made from definitions are shown from them. Entities are searched by their own index; items and
behaviors keep versions, and their history is told version by version.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.divisions import full_name
from server.accounts.models import Account
from server.audit.models import AuditEvent
from server.audit.service import ChangeQuestion, find_changes
from server.complaints.register import COMPLAINTS
from server.credit.register import CREDIT
from server.directory.models import Checklist
from server.entities.register import ENTITIES
from server.entities.service import EntityQuestion, find_entities, get_entity
from server.errors import Problem
from server.knowledge.register import KNOWLEDGE
from server.knowledge.service import links_to
from server.officers.register import OFFICERS
from server.pages import labels
from server.pages.shelf_values import PAGE, Choice, Line, Sheet, Step, said
from server.pages.shelf_versions import BEHAVIORS, ITEMS, VersionedShelf
from server.platforms.register import PLATFORMS
from server.registers import service
from server.registers.definition import BEIJING, Register
from server.registers.schemas import shown
from server.web.principal import Principal, require_scope

HISTORY = 200
SHOWN_COLUMNS = 3
"""Columns of a list beside the title and the division."""

ACTIONS = {
    "enter": ("登记", "entered"), "change": ("变更", "changed"), "move": ("随对象迁移", "moved with its entity"),
    "grade": ("评级", "graded"), "merge": ("合并", "merged"), "avoid": ("登记回避", "must avoid"),
    "meet": ("解除回避", "need not avoid"),
}  # fmt: skip
"""What was done to a record."""


def named(register: Register) -> str:
    """Return a register's name in the reader's language."""
    return register.zh if labels.is_chinese() else f"{register.en}s"


def field_name(register: Register, name: str) -> str:
    """Return a field's name in the reader's language; what is no field of the register, as it is stored."""
    field = register.fields.get(name)
    return name if field is None else str(field.metadata["zh" if labels.is_chinese() else "en"])


def choices(register: Register) -> tuple[Choice, ...]:
    """Return the filters of a register that have a code table."""
    found = []
    for name in register.filtered:
        if name in register.coded:
            entries = code_table(register.coded[name]).current.entries
            options = tuple((code, labels.coded(register.coded[name], code)) for code in entries)
            found.append(Choice(name, field_name(register, name), options))
    return tuple(found)


def text_of(register: Register, view: Mapping[str, Any], name: str) -> str:
    """Return a value of a record for people: codes by the label of the record's day, instants in Beijing's time."""
    told = view["labels"].get(name)
    if told:
        return "、".join(str(label["zh" if labels.is_chinese() else "en"]) for label in told)
    value = view.get(name)
    if value in (None, "", []):
        return ""
    if name == "region":
        return full_name(str(value))
    field = register.fields.get(name)
    if isinstance(value, str) and type(field).__name__ == "Moment":
        return datetime.fromisoformat(value).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M")
    return "、".join(str(one) for one in value) if isinstance(value, list) else str(value)


class RegisterShelf:
    """A register that is made from a definition."""

    def __init__(self, register: Register) -> None:
        """Remember the definition."""
        self.register = register
        self.name = register.name

    @property
    def title(self) -> str:
        """Its name in the reader's language."""
        return named(self.register)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Its filters."""
        return choices(self.register)

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.register.coded if name != "status")[:SHOWN_COLUMNS]

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of a list's columns beside the title and the division."""
        return tuple(field_name(self.register, name) for name in self._columns)

    def find(
        self, session: Session, caller: Principal, q: str, filters: Mapping[str, str], after: str
    ) -> tuple[list[Line], str]:
        """Return a page of records, and where the next begins."""
        rows, rest = self._rows(session, caller, q, filters, after)
        return [self._line(row) for row in rows], rest

    def _rows(
        self, session: Session, caller: Principal, q: str, filters: Mapping[str, str], after: str
    ) -> tuple[list[Any], str]:
        question = service.Question(q, "", filters)
        return service.find(session, self.register, caller, question, after=after, limit=PAGE)

    def _line(self, row: Any) -> Line:  # noqa: ANN401 - a row of the register
        view = shown(self.register, row)
        cells = tuple(text_of(self.register, view, name) for name in self._columns)
        key, title = str(view[self.register.key]), str(view[self.register.title])
        return Line(row.id, title, key, cells, full_name(row.region))

    def _get(self, session: Session, caller: Principal, record: str) -> Any:  # noqa: ANN401 - a row of the register
        return service.get(session, self.register, caller, record)

    def show(self, session: Session, caller: Principal, record: str) -> Sheet:
        """Return a record with its history.

        Raises:
            Problem: `not-found`.
        """
        register, row = self.register, self._get(session, caller, record)
        view = shown(register, row)
        facts = [(field_name(register, name), text_of(register, view, name)) for name in register.fields]
        if register is KNOWLEDGE:
            pointing = _pointing(session, row.number)
            facts.append(("引用的检查项" if labels.is_chinese() else "lines that point here", pointing))
        asked = ChangeQuestion(kind=register.kind, record=record)
        events = find_changes(session, caller, asked, limit=HISTORY)
        people = _people(session, {event.actor for event in events})
        return Sheet(
            title=str(view[register.title]), key=str(view[register.key]), region=full_name(row.region),
            facts=tuple((name, value) for name, value in facts if value),
            steps=tuple(self._step(event, people) for event in events),
        )  # fmt: skip

    def _step(self, event: AuditEvent, people: Mapping[str, str]) -> Step:
        changes = tuple(
            (field_name(self.register, name), said(pair[0]), said(pair[1]))
            for name, pair in event.detail.get("fields", {}).items()
        )
        actor, reason = people.get(event.actor, event.actor), str(event.detail.get("reason", ""))
        verb = event.action.partition(".")[2]
        zh, en = ACTIONS.get(verb, (verb, verb))
        return Step(event.at, actor, zh if labels.is_chinese() else en, reason, changes)


def _pointing(session: Session, number: str) -> str:
    """The lines of checklists in force that point to a piece of knowledge, list by list."""
    links = links_to(session, number)
    query = select(Checklist.id, Checklist.name, Checklist.version).where(
        Checklist.id.in_({link.checklist for link in links})
    )
    names = {checklist: f"{name} v{version}" for checklist, name, version in session.execute(query)}
    lines: dict[str, list[str]] = {}
    for link in links:
        lines.setdefault(link.checklist, []).append(link.line)
    return "、".join(f"{names.get(one, one)}（{', '.join(numbers)}）" for one, numbers in lines.items())


class EntityShelf(RegisterShelf):
    """The register of entities, which has an index of its own."""

    def _rows(
        self, session: Session, caller: Principal, q: str, filters: Mapping[str, str], after: str
    ) -> tuple[list[Any], str]:
        return find_entities(session, caller, EntityQuestion(q=q, **filters), after=after, limit=PAGE)

    def _get(self, session: Session, caller: Principal, record: str) -> Any:  # noqa: ANN401 - an entity
        row = get_entity(session, record)
        require_scope(caller, row.region, caller.department)
        return row


def _people(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of accounts by id."""
    return dict(session.execute(select(Account.id, Account.name).where(Account.id.in_(list(ids)))).all())


Shelf = RegisterShelf | VersionedShelf
SHELVES: Mapping[str, Callable[[], Shelf]] = {
    "items": lambda: ITEMS,
    "entities": lambda: EntityShelf(ENTITIES),
    "officers": lambda: RegisterShelf(OFFICERS),
    "behaviors": lambda: BEHAVIORS,
    "complaints": lambda: RegisterShelf(COMPLAINTS),
    "credit-records": lambda: RegisterShelf(CREDIT),
    "key-subjects": lambda: RegisterShelf(PLATFORMS),
    "knowledge": lambda: RegisterShelf(KNOWLEDGE),
}
"""The eight registers (complaints and credit share one) in the order of the pages."""


def shelf_of(name: str) -> Shelf:
    """Return a register by its name.

    Raises:
        Problem: `not-found`.
    """
    if name not in SHELVES:
        raise Problem("not-found", detail=f"the registers are {', '.join(SHELVES)}")
    return SHELVES[name]()
