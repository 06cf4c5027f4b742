"""The HTTP interface of a register, made from its definition: list, show, enter, change, history, import, export."""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, cast

from flask import Response, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.api import ChangePage, page_place
from server.audit.service import ChangeQuestion, find_changes
from server.errors import Problem
from server.registers import service
from server.registers.definition import Register
from server.registers.importing import import_rows
from server.registers.report import ImportReport
from server.registers.schemas import ExportQuery, ImportQuery, ImportView, RegisterReasonBody, Shapes, shown
from server.registers.tables import FORMATS, read_rows, write_rows
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
MAX_IMPORT_BYTES = 512 * 1024 * 1024
"""Largest file of an import; it is read as a stream."""
MAX_EXPORT_ROWS = 50_000
"""Most rows of one file of an export, which is made in memory."""
EXPORT_PAGE = 1_000
View = Callable[..., Any]


def register_blueprint(keeper: service.Keeper, *, editors: tuple[str, ...] = EDITORS) -> Blueprint:
    """Return a blueprint that serves a register under its name."""
    register, shapes = keeper.register, Shapes(keeper.register)
    blp = Blueprint(
        register.name, __name__, url_prefix=f"/api/v1/{register.name}", description=f"{register.zh} {register.en}"
    )
    _add_lists(blp, keeper, shapes)
    _add_records(blp, keeper, shapes, editors)
    _add_tables(blp, keeper, editors)
    if register.personal:
        _add_reveal(blp, register, shapes, editors)
    return blp


def _add_lists(blp: Blueprint, keeper: service.Keeper, shapes: Shapes) -> None:
    register = keeper.register

    @blp.route("", methods=["GET"])
    @require(*READERS)
    @transactional(read_only=True)
    @blp.arguments(shapes.query, location="query")
    @blp.response(200, shapes.page)
    def find(query: dict[str, Any]) -> dict[str, Any]:
        """Find records by a fragment, a key, a place or the value of a field."""
        wanted = {name: value for name in register.filtered if (value := query[name])}
        question = service.Question(query["q"], query["region"], wanted)
        rows, rest = service.find(
            session(), register, principal(), question, after=query["after"], limit=query["limit"]
        )
        return {"records": [shown(register, row) for row in rows], "next": rest}

    @blp.route("/<record>/history", methods=["GET"])
    @require(*READERS)
    @transactional(read_only=True)
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, ChangePage)
    def history(query: dict[str, Any], record: str) -> dict[str, Any]:
        """Show every change of a record, newest first: who, when, old and new values, why; personal values masked."""
        row = service.get(session(), register, principal(), record)
        asked = ChangeQuestion(kind=register.kind, record=row.id)
        place, limit = page_place(query["after"]), query["limit"]
        found = find_changes(session(), principal(), asked, after=place, limit=limit)
        return {"changes": found, "next": str(found[-1].id) if len(found) == limit else ""}


def _add_records(blp: Blueprint, keeper: service.Keeper, shapes: Shapes, editors: tuple[str, ...]) -> None:
    register = keeper.register

    @blp.route("/<record>", methods=["GET"])
    @require(*READERS)
    @transactional(read_only=True)
    @blp.response(200, shapes.view)
    def show(record: str) -> dict[str, Any]:
        """Show a record; its codes have the labels that were in force on its day."""
        return shown(register, service.get(session(), register, principal(), record))

    @blp.route("", methods=["POST"])
    @require(*editors)
    @transactional
    @blp.arguments(shapes.body)
    @blp.response(201, shapes.view)
    def enter(values: dict[str, Any]) -> dict[str, Any]:
        """Enter a record; unknown references are refused by name."""
        reason = values.pop("reason")
        if not register.follows_entity:
            values["department"] = values.get("department") or principal().department
        service.checked(session(), keeper, principal(), values)
        if service.by_key(session(), register, [values[register.key]]):
            raise Problem("conflict", field=register.key, detail=f"{values[register.key]} is known already")
        author = principal().subject
        return shown(register, service.enter(session(), runtime(), keeper, [values], author=author, reason=reason)[0])

    @blp.route("/<record>", methods=["PATCH"])
    @require(*editors)
    @transactional
    @blp.arguments(shapes.change)
    @blp.response(200, shapes.view)
    def change(values: dict[str, Any], record: str) -> dict[str, Any]:
        """Change fields of a record as it stood at `revision`; each old and new value is kept with the reason."""
        reason, revision = values.pop("reason"), values.pop("revision")
        row = service.get(session(), register, principal(), record, lock=True)
        service.may_change(principal(), row)
        whole = {name: getattr(row, name) for name in (*register.fields, "region", "department")} | values
        service.checked(session(), keeper, principal(), whole)
        author = principal().subject
        service.change(session(), runtime(), keeper, row, values, author=author, reason=reason, revision=revision)
        return shown(register, row)


def _add_tables(blp: Blueprint, keeper: service.Keeper, editors: tuple[str, ...]) -> None:
    register = keeper.register

    @blp.route("/import", methods=["POST"])
    @require(*editors)
    @blp.arguments(ImportQuery, location="query")
    @blp.response(200, ImportView)
    def take_in(query: dict[str, Any]) -> ImportReport:
        """Import a table (CSV, JSON, JSON lines or XLSX); the reply tells of every row that was refused, and why."""
        rows = read_rows(uploaded(), request.mimetype, (register.key,))
        opened = runtime().db.read if query["dry_run"] else runtime().db.write
        return import_rows(runtime(), opened, keeper, rows, caller=principal(), **query)

    @blp.route("/export", methods=["GET"])
    @require(*READERS)
    @blp.arguments(ExportQuery, location="query")
    def give_out(query: dict[str, Any]) -> Response:
        """Export what one may see as CSV, JSON, JSON lines or XLSX, without personal values."""
        return export_file(
            register.name, register.columns, query["format"],
            lambda opened: _pages(opened, register, query["after"]),
        )  # fmt: skip


def _pages(opened: Session, register: Register, after: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    condition, model = service.visible(register, principal()), register.model
    while True:
        query = select(model).where(condition, model.id > after).order_by(model.id).limit(EXPORT_PAGE)
        rows = opened.execute(query).scalars().all()
        for row in rows:
            yield row.id, service.state_of(register, row)
        if len(rows) < EXPORT_PAGE:
            return
        after = rows[-1].id
        opened.expunge_all()


def _add_reveal(blp: Blueprint, register: Register, shapes: Shapes, editors: tuple[str, ...]) -> None:
    @blp.route("/<record>/reveal", methods=["POST"])
    @require(*editors)
    @transactional
    @blp.arguments(RegisterReasonBody)
    @blp.response(200, shapes.personal)
    def reveal(body: dict[str, Any], record: str) -> dict[str, Any]:
        """Show the personal values of a record; who looked and why is kept."""
        row = service.get(session(), register, principal(), record)
        service.may_change(principal(), row)
        return service.reveal(session(), runtime(), register, row, author=principal().subject, reason=body["reason"])


def uploaded() -> IO[bytes]:
    """Return the request's body as a stream of at most :data:`MAX_IMPORT_BYTES`.

    Raises:
        Problem: `too-large` when the request says that it holds more.
    """
    request.max_content_length = MAX_IMPORT_BYTES
    if (request.content_length or 0) > MAX_IMPORT_BYTES:
        raise Problem("too-large", detail="cut the file into several", limit=MAX_IMPORT_BYTES)
    return request.stream


def export_file(
    name: str, columns: tuple[str, ...], form: str,
    rows: Callable[[Session], Iterator[tuple[str, Mapping[str, Any]]]],
) -> Response:  # fmt: skip
    """Return rows, each with its place, as a file; `X-Next-After` says where the next one begins, empty at the end."""
    file = io.BytesIO()
    last = {"place": "", "count": 0}

    def bounded(opened: Session) -> Iterator[Mapping[str, Any]]:
        for place, row in rows(opened):
            if last["count"] == MAX_EXPORT_ROWS:
                last["more"] = True
                return
            last["place"], last["count"] = place, cast(int, last["count"]) + 1
            yield row

    with runtime().db.read() as opened:
        write_rows(file, FORMATS[form], columns, bounded(opened))
    reply = Response(file.getvalue(), content_type=FORMATS[form])
    reply.headers["Content-Disposition"] = f"attachment; filename={name}.{form}"
    reply.headers["X-Next-After"] = str(last["place"]) if "more" in last else ""
    return reply
