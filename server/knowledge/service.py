"""Linking lines of checklists to knowledge."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.knowledge.models import Knowledge, KnowledgeLink

Lines = Sequence[Mapping[str, Any]]


def _links(lines: Lines) -> Iterable[tuple[int, str, str]]:
    """(place of the line, its number, number of the knowledge) of every link."""
    for place, line in enumerate(lines):
        for number in line.get("knowledge", ()):
            yield place, line["number"], number


def check_links(session: Session, lines: Lines) -> None:
    """Refuse lines that point to knowledge that is not there, or was withdrawn.

    Raises:
        Problem: `invalid-field` naming the line and the number.
    """
    wanted = {number for _, _, number in _links(lines)}
    query = select(Knowledge.number).where(Knowledge.number.in_(wanted), Knowledge.status == "active")
    known = set(session.execute(query).scalars()) if wanted else set()
    for place, _, number in _links(lines):
        if number not in known:
            raise Problem(
                "invalid-field",
                field=f"sub_items.{place}.knowledge",
                detail=f"no knowledge with the number {number} is known",
            )


def link(session: Session, checklist: str, lines: Lines) -> None:
    """Note what the lines of a published version of a checklist point to."""
    session.add_all(KnowledgeLink(number=number, checklist=checklist, line=line) for _, line, number in _links(lines))


def unlink(session: Session, checklist: str) -> None:
    """Forget the links of a version that is not in force any more; its content still says them."""
    session.execute(delete(KnowledgeLink).where(KnowledgeLink.checklist == checklist))


def links_to(session: Session, number: str) -> list[KnowledgeLink]:
    """Return the lines of checklists in force that point to a piece of knowledge."""
    query = select(KnowledgeLink).where(KnowledgeLink.number == number)
    return list(session.execute(query.order_by(KnowledgeLink.checklist, KnowledgeLink.line)).scalars())
