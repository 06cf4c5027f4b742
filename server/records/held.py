"""A record in the hands of a batch: what the database has of it, and what the batch has made of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

from sqlalchemy import Table

from server.records.lines import Placement
from server.records.models import RecordAssignee, SyncedRecord
from server.records.served import Served
from sync.dots import Dot
from sync.policies import Policies, conflicts, is_deleted
from sync.registers import Change, RecordState

Key = tuple[str, str]
"""(kind, record id)."""
RECORDS, ASSIGNEES = (cast(Table, model.__table__) for model in (SyncedRecord, RecordAssignee))
"""The tables themselves: bulk statements go past the ORM, which would cost as much as the rest."""


@dataclass
class Held:
    """A loaded record and what the batch has made of it."""

    placement: Placement
    served: Served
    stored: Placement | None
    """Where the database has it; None: it does not have it yet."""
    former: tuple[str, ...] = ()
    """Officers it was assigned to before; what they write about it still lands."""
    conflict_fields: tuple[str, ...] = ()
    """Fields in conflict before the batch."""
    conflicts_after: tuple[str, ...] = ()
    """Fields in conflict now."""
    deleted: bool = False
    changed: bool = False
    position: int = 0
    history: dict[Dot, Change] | None = None
    """All acts of the record, loaded when first needed."""
    touched: set[str] | None = None
    """Fields that the batch may have changed; None: any."""

    @property
    def known(self) -> bool:
        """Whether the database has it already."""
        return self.stored is not None

    @property
    def state(self) -> RecordState:
        """The live values as registers."""
        return self.served.state

    def advance(self, served: Served, fields: Iterable[str]) -> None:
        """Take over values of which an act has changed some fields and nothing else."""
        self.served = served
        if not self.changed:
            self.touched = set(fields)
        elif self.touched is not None:
            self.touched.update(fields)

    def take(self, state: RecordState, policies: Policies) -> None:
        """Take over a merged state, and what people must decide in it."""
        self.served, self.touched = Served.of(state), None
        self.conflicts_after, self.deleted = conflicts(state, policies), is_deleted(state)


class Changed(NamedTuple):
    """A record that a transaction changed, as the domains hear of it."""

    id: str
    placement: Placement
    served: Served
    fresh: bool = False
    """Whether it was not there before."""
    touched: frozenset[str] | set[str] | None = None
    """Fields that may have changed; None: any."""
