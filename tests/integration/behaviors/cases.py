"""Sample cases: an inspection behavior to follow, the fields of what may follow it, and somebody to do it."""

from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from server.accounts.models import Account
from server.behaviors.models import Behavior
from server.behaviors.reviewing import appoint
from server.behaviors.service import BehaviorDraft, create_behavior
from server.runtime import Runtime
from server.web.principal import Principal
from tests.conftest import SignIn
from tests.integration.exchange.behaviors import DEPARTMENT, WUHAN, sample_content

URL = "/api/v1/proceedings"
PENALTY: dict[str, Any] = {
    "case_source": "01", "facts": "样例违法事实", "basis": "样例依据", "procedure": "2", "hearing": "0",
    "filed_at": "2026-03-02T10:00:00+08:00", "criminal_referral": "0", "kinds": ["01", "03"], "fine_yuan": "5000",
    "outcome": "1", "reconsideration": "0", "litigation": "0", "no_penalty": "0",
}  # fmt: skip
DECISION = {"decision_number": "鄂样罚〔2026〕1号", "decided_at": "2026-03-02T10:30:00+08:00"}
COERCION: dict[str, Any] = {"facts": "样例事实", "basis": "样例依据", "kind": "19", "measure": "样例措施"}
GIVEN: dict[tuple[str, str], dict[str, Any]] = {
    ("penalty", "issue"): DECISION,
    ("penalty", "execute"): {"execution": "2", "paid_yuan": "5000"},
    ("penalty", "close"): {"closed_at": "2026-04-02T10:00:00+08:00"},
    ("coercion", "issue"): {"decision_number": "鄂样强〔2026〕1号"},
    ("coercion", "start"): {"started_at": "2026-03-03T10:00:00+08:00"},
    ("coercion", "extend"): {"extended_until": "2026-04-03T10:00:00+08:00"},
    ("coercion", "lift"): {"ended_at": "2026-04-01T10:00:00+08:00"},
    ("other", "close"): {"closing_state": "1"},
}
"""Fields that come with steps."""
CONTENT: dict[str, dict[str, Any]] = {"penalty": PENALTY, "coercion": COERCION, "other": {"measures": "样例约谈"}}


def inspected(session: Session, rt: Runtime, *, entity: str | None = None, **change: Any) -> str:  # noqa: ANN401
    """Write an inspection behavior; returns its number."""
    content = sample_content(rt.now()) | change
    draft = BehaviorDraft("inspection", WUHAN, DEPARTMENT, content, entity, rt.new_id())
    return session.get_one(Behavior, (create_behavior(session, rt, draft), 1)).number


def person(session: Session, rt: Runtime, *, reviewer: bool = False) -> Principal:
    """An operator of the whole province, perhaps qualified to review."""
    account = Account(
        id=rt.new_id(), login=rt.new_id(), password_hash="!", role="operator", name="样例", region="42", department="",
        disabled=False, failures=0,
    )  # fmt: skip
    session.add(account)
    session.flush()
    if reviewer:
        appoint(session, rt, account.id, f"法样 {account.id}", rt.now().replace(year=2030), author="admin")
    return Principal(account.id, "operator", "42", "")


@dataclass
class Office:
    """An operator at work over HTTP."""

    client: FlaskClient
    rt: Runtime
    headers: dict[str, str]
    whole: dict[str, Any] = field(default_factory=dict)

    def open(self, of: str, number: str, **content: Any) -> dict[str, Any]:  # noqa: ANN401 - any national field
        """Begin a proceeding."""
        body = {"kind": of, "inspection_number": number, "content": content}
        answer = self.client.post(URL, json=body, headers=self.headers)
        assert answer.status_code == 201, answer.text
        self.whole = answer.get_json()
        return self.whole

    def step(self, action: str, status: int = 200, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
        """Take a step."""
        body = {"action": action, "revision": self.whole["revision"], **more}
        answer = self.client.post(f"{URL}/{self.whole['id']}/steps", json=body, headers=self.headers)
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.get_json()
        if status == 200:
            self.whole = told
        return told


def office(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> Office:
    """A signed-in operator."""
    return Office(client, rt, sign_in("operator"))
