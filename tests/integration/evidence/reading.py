"""What the tests read back from the tables of evidence."""

import json

from sqlalchemy import select

from server.evidence.models import CustodyEntry, Evidence
from server.runtime import Runtime
from tests.integration.evidence.sending import EVIDENCE


def row(rt: Runtime, record: str = EVIDENCE) -> Evidence:
    """The evidence row."""
    with rt.db.read() as session:
        found = session.get_one(Evidence, record)
        session.expunge(found)
    return found


def actions(rt: Runtime, record: str = EVIDENCE) -> list[str]:
    """The actions of a chain of custody."""
    with rt.db.read() as session:
        query = select(CustodyEntry.body).where(CustodyEntry.evidence == record).order_by(CustodyEntry.seq)
        return [json.loads(body)["action"] for body in session.scalars(query)]
