"""The pages of the base registers: the nine sectors' theme views, each register as a list, and one record."""

from flask import Blueprint, render_template, request

from server.analytics.themes import UNCLASSIFIED, sectors, themes
from server.errors import Problem
from server.pages import frame, labels
from server.pages import session as browser
from server.pages.shelves import SHELVES, shelf_of
from server.registers.search import MAX_FRAGMENT_CHARS, MIN_FRAGMENT_CHARS
from server.web.auth import principal, require
from server.web.transaction import session, transactional

blp = Blueprint("registers_pages", __name__, template_folder="templates")
blp.context_processor(frame.variables)
blp.after_request(frame.seal_response)
blp.register_error_handler(Problem, frame.problem_page)


@blp.get("/registers")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def overview() -> str:
    """Show every register by the nine sectors."""
    found = themes(session(), principal())
    rows = [(code, labels.coded("sector", code), [one.sectors[code] for one in found]) for code in sectors()]
    shelves = [shelf_of(name) for name in SHELVES]
    return render_template(
        "pages/themes.html", views=found, rows=rows, titles={one.name: one.title for one in shelves},
        unclassified=UNCLASSIFIED, here="registers",
    )  # fmt: skip


@blp.get("/registers/<name>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def register_list(name: str) -> str:
    """List a register, searched and filtered."""
    shelf, q = shelf_of(name), request.args.get("q", "").strip()[:MAX_FRAGMENT_CHARS]
    wanted = {one.name: request.args.get(one.name, "") for one in shelf.choices}
    filters = {choice: value for choice, value in wanted.items() if value}
    short = 0 < len(q) < MIN_FRAGMENT_CHARS
    after = request.args.get("after", "")[:200]
    lines, rest = ([], "") if short else shelf.find(session(), principal(), q, filters, after)
    return render_template(
        "pages/register_list.html", shelf=shelf, lines=lines, rest=rest, q=q, wanted=wanted, short=short,
        here="registers",
    )  # fmt: skip


@blp.get("/registers/<name>/<record>")
@require(*browser.PEOPLE)
@transactional(read_only=True)
def register_record(name: str, record: str) -> str:
    """Show one record of a register with its history; personal values masked."""
    shelf = shelf_of(name)
    sheet = shelf.show(session(), principal(), record)
    return render_template("pages/register_record.html", shelf=shelf, sheet=sheet, here="registers")
