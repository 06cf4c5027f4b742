"""The page of missing evidence: by officer and handheld, with its age."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from server.devices.models import Device
from server.evidence.service import declare
from server.officers.models import Officer
from server.runtime import Runtime
from server.web.auth import COOKIE
from tests.conftest import FakeClock, SignIn

FIRST, SECOND = ("0190a0b0-0000-7000-8000-00000000000" + last for last in "12")


@pytest.fixture
def missing(rt: Runtime, clock: FakeClock) -> None:
    """Two handhelds have each declared a file; nothing has arrived."""
    for name, record in (("一", FIRST), ("二", SECOND)):
        with rt.db.write() as session:
            session.add(
                Officer(
                    id=f"o{name}", name=f"样例{name}", certificate_number=f"C{name}", region="420106",
                    certificate_valid_until=rt.now() + timedelta(days=365), department="330",
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Device(
                    id=f"d{name}", name=f"终端{name}", public_key=name.encode(), officer=f"o{name}", region="420106",
                    department="330", status="active", enrolled_at=rt.now(), pending_acts=0,
                )
            )  # fmt: skip
            session.flush()
            fields = {"inspection": FIRST, "sha256": "ab" * 32, "size_bytes": 5, "media_type": "image/jpeg"}
            declare(
                session, rt, record, fields, device=f"d{name}", act_hash="ac" * 32, region="420106", department="330"
            )
        clock.advance(30 * 3_600)


def page(client: FlaskClient, headers: dict[str, str], query: str = "", status: int = 200) -> str:
    """The page as a person sees it."""
    client.set_cookie(COOKIE, headers["Authorization"].split()[1])
    answer = client.get(f"/missing-evidence?{query}")
    assert answer.status_code == status, answer.text[:300]
    return answer.text


def test_what_is_missing_is_listed(client: FlaskClient, sign_in: SignIn, missing: None) -> None:
    """With officer, handheld and age; those missing for a shorter time are left out when asked."""
    shown = page(client, sign_in("operator"), "lang=zh")
    assert "缺失证据" in shown
    for word in ("样例一", "终端一", FIRST, "样例二", "终端二", SECOND):
        assert word in shown, word
    shown = page(client, sign_in("operator"), "lang=en&hours=24")
    assert "Longer than 24 hours" in shown
    assert FIRST in shown
    later = page(client, sign_in("operator"), "hours=72")
    assert FIRST not in later
    assert SECOND not in later
    page(client, sign_in("operator"), "hours=5", 404)


def test_others_see_nothing_of_it(client: FlaskClient, sign_in: SignIn, missing: None) -> None:
    """Only one's own region; devices and officers have no such page."""
    assert FIRST not in page(client, sign_in("operator", region="4202"))
    page(client, sign_in("officer"), status=403)
