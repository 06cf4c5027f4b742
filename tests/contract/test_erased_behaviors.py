"""Behaviors of citizens: their personal fields have a commitment of their own, so erasing them breaks no proof."""

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from server.accounts.service import NewAccount, add_account
from server.behaviors.models import Behavior
from server.behaviors.service import BehaviorDraft, correct_behavior, create_behavior
from server.exchange.verify import verify_behaviors
from server.fieldsync.erasure import erase
from server.prooflog.service import sequence_step
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.contract.test_decisions import Desk
from tests.field_device import lines
from tests.integration.exchange.behaviors import DEPARTMENT, WUHAN, sample_content

NAME, NUMBER = "张样例公民", "SAMPLE-0001"


def write(session: Session, rt: Runtime) -> str:
    """A behavior with a citizen as counterpart, corrected once."""
    content = sample_content(rt.now()) | {
        "object": NAME, "counterpart_name": NAME, "counterpart_nature": "1", "certificate_type": "990",
        "certificate_number": NUMBER,
    }  # fmt: skip
    behavior = create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content))
    correct_behavior(session, rt, behavior, content | {"result": "02"}, reason="样例")
    return behavior


@pytest.fixture
def behavior(rt: Runtime) -> str:
    """It, with its leaves in the log."""
    with rt.db.write() as session:
        made = write(session, rt)
    with rt.db.write() as session:
        sequence_step(session, rt)
    return made


def findings(rt: Runtime) -> list[str]:
    """What verifying the behaviors finds."""
    with rt.db.read() as session:
        return verify_behaviors(session)[1]


def stored(rt: Runtime) -> bytes:
    """All bytes of behaviors."""
    with rt.db.read() as session:
        return b"".join(row.line + (row.personal or b"") + row.leaf for row in session.query(Behavior))


def test_erasing_a_citizens_behavior(client: FlaskClient, rt: Runtime, behavior: str, sign_in: SignIn) -> None:
    """Both versions lose name, number and address; the rest, the leaves and their proofs stay."""
    desk, second = Desk(client, sign_in("operator")), Desk(client, sign_in("operator"))
    assert desk.get(f"/behaviors/{behavior}")["content"]["counterpart_name"] == NAME
    with rt.db.read() as session:
        row = session.get_one(Behavior, (behavior, 1))
        assert NAME.encode() not in row.line
        assert json.loads(row.leaf).keys() == {"behavior", "version", "content", "personal", "previous"}
    assert findings(rt) == []
    order = desk.post("/erasures", 201, records=[{"kind": "behavior", "id": behavior}], basis="样例法条")["id"]
    second.post(f"/erasures/{order}/approve")
    assert erase(rt) == 1
    assert NAME.encode() not in stored(rt)
    assert NUMBER.encode() not in stored(rt)
    content = desk.get(f"/behaviors/{behavior}")["content"]
    assert (content["result"], "counterpart_name" in content) == ("02", False)
    assert findings(rt) == []
    assert desk.get(f"/erasures/{order}")["order"]["acts"] == 2
    Desk(client, sign_in("operator", region="4202")).post(
        "/erasures", 404, records=[{"kind": "behavior", "id": behavior}], basis="样例法条"
    )


def test_a_personal_part_that_is_missing_or_changed_is_found(rt: Runtime, behavior: str) -> None:
    """Without an order nothing may be missing, and nobody changes what was committed to."""
    with rt.db.write() as session:
        session.get_one(Behavior, (behavior, 1)).personal = None
        session.get_one(Behavior, (behavior, 2)).personal = b'{"salt":"x"}'
    assert len(findings(rt)) == 2


def test_the_central_system_gets_it_beside_the_content(client: FlaskClient, rt: Runtime, behavior: str) -> None:
    """The personal part travels as the bytes that were committed to; a firm's behavior has none."""
    with rt.db.write() as session:
        add_account(
            session, rt, NewAccount("central", "a sample pass phrase", "central", "样例", "420000"), actor="test"
        )
        create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, sample_content(rt.now())))
    with rt.db.write() as session:
        sequence_step(session, rt)
    signed = client.post("/api/v1/sign-in", json={"login": "central", "password": "a sample pass phrase"})
    headers = {"Authorization": f"Bearer {signed.json['token']}"}  # type: ignore[index]  # an object
    page = lines(client.get("/api/v1/central/behaviors", headers=headers))[1:]
    assert [NAME in line.get("personal", "") for line in page] == [True, True, False]
    assert all(NAME not in line["content"] for line in page)
    assert page[0]["id"] == behavior
