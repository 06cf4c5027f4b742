"""Knowledge over HTTP, and which lines of checklists point to it."""

from typing import Any

from marshmallow import Schema, fields

from server.knowledge.register import KEEPER, KNOWLEDGE
from server.knowledge.service import links_to
from server.registers import service
from server.registers.blueprint import READERS, register_blueprint
from server.web.auth import principal, require
from server.web.transaction import session, transactional

blp = register_blueprint(KEEPER)


class KnowledgeLinkView(Schema):
    """A line of a checklist in force."""

    checklist = fields.String()
    line = fields.String()


class KnowledgeLinkList(Schema):
    """The lines that point to a piece of knowledge."""

    links = fields.List(fields.Nested(KnowledgeLinkView))


@blp.route("/<record>/links", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, KnowledgeLinkList)
def links(record: str) -> dict[str, Any]:
    """Show which lines of checklists in force point to a piece of knowledge."""
    row = service.get(session(), KNOWLEDGE, principal(), record)
    return {"links": links_to(session(), row.number)}
