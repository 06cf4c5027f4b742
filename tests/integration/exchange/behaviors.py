"""Sample behaviors, written as the platform writes them."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from schemas.identifiers import make_uscc
from server.behaviors.service import BehaviorDraft, create_behavior
from server.runtime import Runtime

WUHAN, XIANGYANG = "420106", "420602"
USCC = make_uscc("91", "420100", "MA4K0001")
DEPARTMENT = "示例部门"


def sample_content(now: datetime, region: str = WUHAN) -> dict[str, Any]:
    """The national fields of an inspection of a plainly fictitious shop."""
    return {
        "item_code": "01234567890123",
        "checklist_code": f"{USCC}1001",
        "name": "示例事项",
        "implementing_body": "示例部门",
        "implementing_body_code": USCC,
        "object": "示例食品店",
        "counterpart_name": "示例食品店",
        "counterpart_nature": "2",
        "certificate_type": "001",
        "certificate_number": USCC,
        "region": region,
        "form": "01",
        "category": "03",
        "result": "01",
        "inspected_at": now.isoformat(),
        "officers": [
            {"name": "张样例", "certificate_number": "样例-1"},
            {"name": "李样例", "certificate_number": "样例-2"},
        ],
        "reported_at": now.isoformat(),
        "reported_by": "张样例",
    }


def add_behavior(session: Session, rt: Runtime, region: str = WUHAN, department: str = DEPARTMENT) -> str:
    """Write one behavior; returns its id."""
    content = sample_content(rt.now(), region)
    return create_behavior(session, rt, BehaviorDraft("inspection", region, department, content))
