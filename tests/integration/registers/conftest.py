"""A small world for the registers: a few entities, an item, and signed-in operators."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.directory.models import SupervisionItem
from server.directory.service import add_item
from server.entities.models import Entity
from server.entities.service import add_entities
from server.province import generate
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body

MADE = [(item, checklists[0]) for item, checklists in generate.directory(5) if checklists]
PAIRS = [pair for place, pair in enumerate(MADE) if pair[0]["sector"] not in {one["sector"] for one, _ in MADE[:place]}]
"""The first item of each sector, with its first checklist."""
ROWS = next(generate.entities(40, 5))
Rows = list[dict[str, Any]]


@pytest.fixture
def entities(rt: Runtime) -> Rows:
    """Entities and items of the sample province."""
    with rt.db.write() as session:
        add_entities(session, rt, [Entity(**row) for row in ROWS], author="op")
        for item, _ in PAIRS:
            add_item(session, rt, SupervisionItem(**item), author="op")
    return ROWS


def complaint(number: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    """A complaint as it is sent."""
    return {
        "number": number, "kind": "complaint", "channel": "12315", "subject": "食品标签与实物不符",
        "respondent": "样例青禾超市", "region": "420106", "department": "市场监督管理", "sector": "market",
        "complainant": "张样例", "phone": "13800001234", "received_at": "2020-05-06T09:00:00+08:00",
    } | more  # fmt: skip


def credit(number: str, entity: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    """A credit record as it is sent."""
    return {
        "number": number, "entity": entity, "kind": "abnormal", "title": "未按期公示年度报告",
        "authority": "样例市场监督管理局", "decided_on": "2026-01-05",
    } | more  # fmt: skip


def key_subject(number: str, entity: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    """A third-party platform as it is sent."""
    return {
        "number": number, "entity": entity, "kind": "catering", "name": "样例外卖平台", "sector": "market",
        "contact": "李样例", "listed_on": "2026-01-01",
    } | more  # fmt: skip


Send = Callable[..., Any]


@pytest.fixture
def send(client: FlaskClient, sign_in: SignIn) -> Send:
    """Send a request as an operator of the province, or with other headers."""
    own = sign_in("operator")

    def call(method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:  # noqa: ANN401 - a test response
        return client.open(f"/api/v1{path}", method=method, headers=headers or own, **more)

    return call


def entered(send: Send, register: str, record: dict[str, Any]) -> dict[str, Any]:
    """Enter a record that must be taken."""
    reply = send("POST", f"/{register}", json={**record, "reason": "登记"})
    assert reply.status_code == 201, reply.text
    return body(reply)
