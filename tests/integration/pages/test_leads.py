"""The pages of leads: the list, one lead with its readings and history, a step by form, and the precision of rules."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from server.leads.lifecycle import DISPOSALS, LEAD, LEVELS
from server.pages.leads_api import OTHER_STEPS, action_label, disposal_label, state_label
from server.pages.reading_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot
from server.runtime import Runtime
from server.telemetry.models import StoredReading
from server.web.auth import COOKIE
from tests.conftest import FakeClock, SignIn
from tests.field_device import make_world
from tests.integration.leads.lead_play import SENSOR, LeadPlay


@pytest.fixture
def play(rt: Runtime, clock: FakeClock) -> LeadPlay:
    """A lead's platform with an hour of readings."""
    play = LeadPlay(rt, make_world(rt), clock)
    with rt.db.write() as session:
        for hour in range(1, 9):
            session.add(
                StoredReading(
                    at=rt.now() - timedelta(hours=hour), sensor_id=SENSOR, factor="SO2", kind="hour", value=90.0 * hour,
                    flag="N", valid=True, reason=None, seq=hour, received_at=rt.now(), skew_ms=None,
                )
            )  # fmt: skip
    return play


@pytest.fixture
def desk(client: FlaskClient, sign_in: SignIn) -> FlaskClient:
    """An operator's browser."""
    client.set_cookie(COOKIE, sign_in("operator")["Authorization"].split()[1])
    return client


def _page(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:300]
    return answer.text


def test_a_lead_on_its_page(desk: FlaskClient, rt: Runtime, play: LeadPlay) -> None:
    """The list leads to it; the page has the sentence, the drawing with the limit, the history, and the legal steps."""
    at = rt.now() - timedelta(hours=2)
    lead = play.open(extract=[[at.isoformat(), 600.0]])
    path = f"/leads/{lead}"
    assert path in _page(desk, "/leads?lang=en")
    assert path in _page(desk, "/leads?category=breach&status=generated")
    assert path not in _page(desk, "/leads?overdue=1")
    shown = _page(desk, path)
    assert "three hours" in shown
    assert '<path class="limit"' in shown
    assert '<path class="series" d="M' in shown
    assert shown.count('<circle class="judged"') == 1
    assert 'value="dismiss"' in shown
    assert 'value="close"' not in shown
    _page(desk, "/leads?status=nonsense", 404)


def test_a_step_by_form(desk: FlaskClient, play: LeadPlay) -> None:
    """Refused with its reason, without the token not at all; taken, the history shows it."""
    path = f"/leads/{play.open()}"
    token = re.search(r'name="csrf" value="([^"]+)"', _page(desk, path))
    assert token is not None
    form = {"csrf": token[1], "action": "dismiss", "reason": ""}
    assert desk.post(path, data=form).status_code == 422
    assert desk.post(path, data=form | {"action": "close"}).status_code == 409
    assert desk.post(path, data=form | {"csrf": "x", "reason": "联调"}).status_code == 403
    taken = desk.post(path, data=form | {"reason": "设备联调"})
    assert (taken.status_code, taken.location) == (303, path)
    shown = _page(desk, path)
    assert "设备联调" in shown
    assert "<td>样例</td>" in shown, "the account stands there by its name"
    assert '<form class="panel ruling"' not in shown


def test_others_see_no_lead(client: FlaskClient, play: LeadPlay, sign_in: SignIn) -> None:
    """Another region's operator does not find it; an auditor reads, and is offered no steps."""
    path = f"/leads/{play.open()}"
    client.set_cookie(COOKIE, sign_in("operator", region="4203")["Authorization"].split()[1])
    _page(client, path, 404)
    assert path not in _page(client, "/leads")
    client.set_cookie(COOKIE, sign_in("auditor")["Authorization"].split()[1])
    assert 'value="dismiss"' not in _page(client, path)


def test_precision_on_a_page(desk: FlaskClient, play: LeadPlay) -> None:
    """Each version of a rule has its row."""
    play.open()
    assert "air-so2-hourly/1" in _page(desk, "/leads?view=rules&lang=en")


def test_overdue_and_escalated_leads_are_seen(
    desk: FlaskClient, play: LeadPlay, clock: FakeClock, sign_in: SignIn
) -> None:
    """They have a list of their own."""
    path = f"/leads/{play.open()}"
    clock.advance(5 * 3600)
    desk.set_cookie(COOKIE, sign_in("operator")["Authorization"].split()[1])
    assert path in _page(desk, "/leads?overdue=1")
    assert 'class="late"' in _page(desk, "/leads")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_state_and_step_has_its_words(desk: FlaskClient, language: str) -> None:
    """In both languages, from the tables themselves."""
    with desk.application.test_request_context(f"/?lang={language}"):
        words = [state_label(state) for state in LEAD.states] + [disposal_label(code) for code in DISPOSALS]
        words += [action_label(one.action) for one in LEAD.transitions] + [action_label(one) for one in OTHER_STEPS]
        assert all(words)
        assert all(("一" <= word[0] <= "鿿") == (language == "zh") for word in words)
    assert list(LEVELS) == [1, 2, 3]


def test_the_drawing_stays_in_its_frame() -> None:
    """Negative values, one value, and a limit far above: everything lies inside; nothing to draw is no drawing."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    for around, judged, limit in (
        ([(at, -5.0), (at + timedelta(hours=1), 3.0)], [(at, -5.0)], 2.0),
        ([], [(at, 0.0)], None),
        ([], [(at, 1.0)], 1e6),
    ):
        drawn = plot(around, judged, limit)
        assert drawn is not None
        places = [*drawn.judged, *((LEFT, tick.y) for tick in drawn.ticks), (LEFT, drawn.limit_y or TOP)]
        assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    assert plot([], [], 5.0) is None
