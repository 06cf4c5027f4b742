"""The second institution: a major decision issues only after another, qualified person's review (法制审核)."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.accounts.models import Account
from server.audit.service import record_event
from server.behaviors.criteria import Criterion, criteria_met
from server.behaviors.lifecycles import APPROVED
from server.behaviors.models import LegalReview, LegalReviewer, Proceeding, ProceedingStep
from server.errors import Problem
from server.officers.models import Officer
from server.runtime import Runtime
from server.web.principal import Principal
from sync.acts import encode

APPROVAL, CHANGES, REFUSAL = "1", "2", "3"
"""Codes of the table `review_opinion`."""
MIN_REASON_CHARS = 2
REVIEWING_ROLES = ("admin", "operator")


def criteria_of(row: Proceeding) -> list[Criterion]:
    """Return why a proceeding's decision is major; empty when it is not."""
    return criteria_met(row.kind, row.content)


def may_issue(session: Session, row: Proceeding) -> bool:
    """Tell whether a decision may be issued: it is not major, or it is what a reviewer has approved."""
    if not criteria_of(row):
        return True
    newest = reviews_of(session, row.id)[-1:]
    return row.state == APPROVED and bool(newest) and newest[0].opinion == APPROVAL


def request(session: Session, rt: Runtime, caller: Principal, row: Proceeding) -> None:
    """Put a decision before the reviewers, as it is now; also one that no criterion asks for may be sent."""
    session.add(
        LegalReview(
            proceeding=row.id, round=len(reviews_of(session, row.id)) + 1, requested_by=caller.subject,
            criteria=[one.code for one in criteria_of(row)], requested_at=rt.now(), content_sha256=_digest(row),
        )
    )  # fmt: skip
    session.flush()


def decide(
    session: Session, rt: Runtime, caller: Principal, row: Proceeding, *, approved: bool, reason: str, opinion: str
) -> dict[str, Any]:
    """Record a reviewer's opinion; returns the national fields that say so.

    Raises:
        Problem: `forbidden` for somebody who is not qualified now, or who prepared the decision or took part in the
            inspection; `invalid-field` without reasons, or for an opinion that does not fit the action.
    """
    certificate = _require_reviewer(session, rt, caller, row)
    opinion = opinion or (APPROVAL if approved else CHANGES)
    if (opinion == APPROVAL) != approved or opinion not in (APPROVAL, CHANGES, REFUSAL):
        raise Problem("invalid-field", field="opinion", detail="does not fit the action")
    if len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a review gives its reasons", limit=MIN_REASON_CHARS)
    review = reviews_of(session, row.id)[-1]
    review.reviewer, review.certificate_number = caller.subject, certificate
    review.opinion, review.reason, review.decided_at = opinion, reason.strip(), rt.now()
    detail = {"round": review.round, "opinion": opinion, "criteria": review.criteria}
    record_event(session, rt, caller.subject, "legal-review.decide", "proceeding", row.id, detail)
    if row.kind != "penalty" or not approved:
        return {}
    return {"legal_review": "1", "legal_review_at": rt.now().isoformat(), "legal_review_opinion": opinion}


def _require_reviewer(session: Session, rt: Runtime, caller: Principal, row: Proceeding) -> str:
    qualified = session.get(LegalReviewer, caller.subject)
    if qualified is None or qualified.valid_until < rt.now():
        raise Problem("forbidden", field="reviewer", detail="is not qualified to review", reason="not-qualified")
    steps = select(ProceedingStep.actor).where(ProceedingStep.proceeding == row.id)
    reviewers = {review.reviewer for review in reviews_of(session, row.id)}
    prepared = {row.author, *session.execute(steps).scalars()} - reviewers
    if caller.subject in prepared:
        raise Problem("forbidden", field="reviewer", detail="prepared this decision", reason="same-person")
    mine = select(Officer.certificate_number).where(Officer.id.in_(caller.officers))
    acting = {officer["certificate_number"] for officer in row.content["officers"]}
    if not acting.isdisjoint(session.execute(mine).scalars()):
        raise Problem("forbidden", field="reviewer", detail="took part in the inspection", reason="same-person")
    return qualified.certificate_number


def reviews_of(session: Session, proceeding: str) -> list[LegalReview]:
    """Return the rounds of review of a proceeding, oldest first."""
    query = select(LegalReview).where(LegalReview.proceeding == proceeding).order_by(LegalReview.round)
    return list(session.execute(query).scalars())


def appoint(
    session: Session, rt: Runtime, account: str, certificate_number: str, valid_until: datetime, *, author: str
) -> LegalReviewer:
    """Note that an account's holder is qualified to review, or how long still.

    Raises:
        Problem: `not-found`, `invalid-field` for an account that decides nothing, `conflict` for a certificate that is
            another's.
    """
    holder = session.get(Account, account)
    if holder is None:
        raise Problem("not-found", detail="no account with this id")
    if holder.role not in REVIEWING_ROLES:
        raise Problem("invalid-field", field="account", detail=f"its role is none of {', '.join(REVIEWING_ROLES)}")
    taken = select(LegalReviewer.account).where(LegalReviewer.certificate_number == certificate_number)
    if session.execute(taken).scalar_one_or_none() not in (None, account):
        raise Problem("conflict", field="certificate_number", detail="is another reviewer's")
    row = session.get(LegalReviewer, account) or LegalReviewer(account=account)
    row.certificate_number, row.valid_until, row.author, row.at = certificate_number, valid_until, author, rt.now()
    session.add(row)
    session.flush()
    record_event(session, rt, author, "legal-reviewer.appoint", "account", account, {"until": valid_until.isoformat()})
    return row


def list_reviewers(session: Session) -> Sequence[LegalReviewer]:
    """Return everybody who is or was qualified."""
    return session.execute(select(LegalReviewer).order_by(LegalReviewer.account)).scalars().all()


def _digest(row: Proceeding) -> str:
    return hashlib.sha256(encode(dict(sorted(row.content.items())))).hexdigest()
