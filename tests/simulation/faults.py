"""Faults that are planted on purpose: a simulation that cannot find them proves nothing by finding none."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from server.fieldsync import arrivals, feed
from server.fieldsync import push as pushing
from server.records import batch
from server.records.feed import Page, read_page
from sync import merge
from sync.policies import Policies
from sync.registers import Change, RecordState, from_live

RARELY = 20
"""Each how manyth time a fault that can be rare happens, about."""

Plant = Callable[[pytest.MonkeyPatch], None]


def _seldom(*what: object) -> bool:
    """Decide by what is at hand, so that a seed meets the fault again."""
    return random.Random(repr(what)).randrange(RARELY) == 0


def merge_forgets_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several values that stand beside one another only the first is kept."""
    real = merge.merge

    def forgetful(state: RecordState, change: Change, policies: Policies) -> merge.Merged:
        outcome = real(state, change, policies)
        kept = {name: values[:1] if len(values) > 1 else values for name, values in outcome.state.live_fields().items()}
        return merge.Merged(from_live(kept), outcome.verdict, outcome.unseen, outcome.conflict_fields, outcome.rivals)

    monkeypatch.setattr(batch, "merge", forgetful)


def receipt_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a push is answered although its transaction is lost."""
    real = pushing.push

    def hasty(session: Session, *given: Any, **named: Any) -> list[bytes]:  # noqa: ANN401 - as the real one takes them
        reply = real(session, *given, **named)
        if _seldom(reply):
            session.rollback()
        return reply

    monkeypatch.setattr(arrivals, "push", hasty)


def receipt_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt that is asked for again tells the epoch and verdict of now and not those of then."""
    real = pushing._stored

    def rewritten(*given: Any) -> dict[int, pushing.Stored]:  # noqa: ANN401 - as the real one takes them
        stored = real(*given)
        return {seq: row._replace(receipt=row.receipt.replace(b'"held"', b'"applied"')) for seq, row in stored.items()}

    monkeypatch.setattr(pushing, "_stored", rewritten)


def pull_skips_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a page lacks a record, and the cursor moves past it."""

    def skipping(*given: Any, **named: Any) -> Page:  # noqa: ANN401 - as the real one takes them
        page = read_page(*given, **named)
        if len(page.items) > page.notes and _seldom(page.upto):
            return replace(page, items=page.items[:-1])
        return page

    monkeypatch.setattr(feed, "read_page", skipping)


FAULTS: dict[str, Plant] = {
    "merge": merge_forgets_a_side,
    "commit": receipt_before_the_commit,
    "receipt": receipt_made_anew,
    "pull": pull_skips_a_record,
}
