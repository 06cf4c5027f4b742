"""The bodies that implement checklists (实施机构): entered by people, known by their unified social credit code."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.identifiers import check_uscc
from server.audit.service import record_event
from server.directory.models import SupervisionBody
from server.errors import Problem
from server.runtime import Runtime


def add_body(session: Session, rt: Runtime, body: SupervisionBody, *, author: str) -> None:
    """Enter a body that implements checklists.

    Raises:
        Problem: `invalid-field` for a wrong code, `conflict` for a known one.
    """
    if reason := check_uscc(body.uscc):
        raise Problem("invalid-field", field="uscc", detail=reason)
    if session.get(SupervisionBody, body.uscc) is not None:
        raise Problem("conflict", field="uscc", detail="this body is known already")
    session.add(body)
    detail = {"fields": {name: [None, getattr(body, name)] for name in ("name", "department", "region")}}
    record_event(session, rt, author, "directory.body", "body", body.uscc, detail)


def list_bodies(session: Session, *, after: str = "", limit: int = 50) -> list[SupervisionBody]:
    """Return the bodies in order of code."""
    query = select(SupervisionBody).where(SupervisionBody.uscc > after)
    return list(session.execute(query.order_by(SupervisionBody.uscc).limit(limit)).scalars())
