"""Devices in the field against the real application: clocks, keys, several officers, revocation, wipe, versions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update

from device_sim.handheld import standing
from device_sim.handheld.client import Handheld
from device_sim.handheld.keys import begin_change
from device_sim.handheld.link import Backoff, Refused, Unreachable
from device_sim.handheld.outside import Outside
from device_sim.handheld.picture import Picture
from device_sim.handheld.sharing import MAX_PIN_FAILURES, Locked
from device_sim.handheld.wiping import LAST_WORD
from server.devices.models import Device
from server.fieldsync.models import Journal
from server.records.models import Act
from server.records.service import new_epoch
from server.verifying import check_signatures
from tests.conftest import FakeClock, SignIn
from tests.integration.device_sim.conftest import MakeHandheld, Platform
from tests.integration.device_sim.test_handheld_sync import dispatched

YEARS_MS = 9 * 365 * 86_400_000
POSITION = {"lat": 30.55, "lon": 114.31, "datum": "WGS-84"}
PICTURE = Picture(b"sample picture", "a.jpg", "image/jpeg", "2026-03-02T09:12:00+08:00", POSITION, "secret caption")


def inspection_of(platform: Platform, device: Handheld) -> str:
    """Dispatch one task, pull it, and return its inspection."""
    [task] = dispatched(platform, 1)
    device.pull()
    return str(device.open("task", task).value("inspection"))


def post(platform: Platform, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Do something as the operator."""
    answer = platform.client().post(f"/api/v1{path}", json=body or {}, headers=platform.operator)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def get(platform: Platform, path: str) -> dict[str, Any]:
    """Look something up as the operator."""
    answer = platform.client().get(f"/api/v1{path}", headers=platform.operator)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def write(device: Handheld, inspection: str, **fields: object) -> None:
    """Write an act on the inspection."""
    device.write(device.open("inspection", inspection), fields)


class Wire(httpx.BaseTransport):
    """A line to the platform that loses the reply to the next request of a path."""

    def __init__(self, platform: Platform) -> None:
        """Lose nothing yet."""
        self.inner = httpx.WSGITransport(platform.app)
        self.lose = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Deliver, and lose the reply if that was asked for."""
        response = self.inner.handle_request(request)
        if self.lose and request.url.path.endswith(self.lose):
            self.lose = ""
            raise httpx.ReadError("lost", request=request)
        return response


@pytest.fixture
def wire(platform: Platform) -> Wire:
    """The line."""
    return Wire(platform)


@pytest.fixture
def on_wire(handheld: MakeHandheld, wire: Wire) -> Handheld:
    """The first officer's handheld, on a line that gives up at the first loss."""
    device = handheld(client=httpx.Client(transport=wire, base_url="http://platform.example"))
    device._backoff = Backoff(base_s=0.0, attempts=1)
    return device


# Clocks.

OpenAt = Callable[..., Handheld]


@pytest.fixture
def wrong_clock(platform: Platform, handheld: MakeHandheld, clock: FakeClock, tmp_path: Path) -> OpenAt:
    """Switch a handheld on whose wall clock is off by so much; its monotonic clock begins at zero."""

    def switch_on(off_ms: list[int]) -> Handheld:
        started = clock.now()
        outside = Outside(
            wall_ms=lambda: platform.rt.now_ms() + off_ms[0],
            mono_ms=lambda: round((clock.now() - started).total_seconds() * 1000),
            sleep=lambda _seconds: None,
            jitter=lambda: 0.5,
        )
        return Handheld(tmp_path / "handheld-0", platform.client(), outside=outside, backoff=Backoff(0.0, attempts=5))

    handheld().close()
    return switch_on


def test_a_handheld_set_to_2035(platform: Platform, wrong_clock: OpenAt, clock: FakeClock, sign_in: SignIn) -> None:
    """Its raw clock stays on record; corrected times are the server's, with their bound; nothing lies in the future."""
    device = wrong_clock([YEARS_MS])
    inspection = inspection_of(platform, device)
    clock.advance(3_600)
    written_ms = platform.rt.now_ms()
    write(device, inspection, scene="样例")
    clock.advance(7_200)
    device.sync()
    platform = replace(platform, operator=sign_in("auditor"))
    [act] = get(platform, f"/journals/{device.store.journals()[0]}/times")["acts"]
    assert act["wall_ms"] == written_ms + YEARS_MS
    assert (act["at_ms"], act["basis"]) == (written_ms, "exchange")
    assert act["error_ms"] == 720, "two hours of drift since the exchange"
    [boot] = get(platform, f"/devices/{device.device}/boots")["boots"]
    assert (boot["wall_off_ms"], boot["steps"]) == (YEARS_MS, 0)
    device.close()


def test_a_clock_that_jumps_back(platform: Platform, wrong_clock: OpenAt, clock: FakeClock) -> None:
    """Acts keep their order and distance, and the office sees that somebody has set the clock."""
    off_ms = [0]
    device = wrong_clock(off_ms)
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="before")
    device.push()
    before_ms = platform.rt.now_ms()
    off_ms[0] = -3 * 86_400_000
    clock.advance(60)
    write(device, inspection, scene="after")
    clock.advance(60)
    device.sync()
    acts = get(platform, f"/journals/{device.store.journals()[0]}/times")["acts"]
    assert [act["at_ms"] - before_ms for act in acts] == [0, 60_000]
    assert acts[1]["wall_ms"] < acts[0]["wall_ms"]
    assert device.open("inspection", inspection).value("scene") == "after"
    [boot] = get(platform, f"/devices/{device.device}/boots")["boots"]
    assert (boot["steps"], boot["largest_step_ms"]) == (1, -3 * 86_400_000)
    device.close()


def test_an_earlier_boot_is_corrected_by_what_is_known_of_it(
    platform: Platform, wrong_clock: OpenAt, clock: FakeClock, sign_in: SignIn
) -> None:
    """Synced in the morning, written underground, switched off, clock lost, pushed the next day: still right."""
    device = wrong_clock([0])
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="morning")
    device.push()
    clock.advance(3_600)
    written_ms = platform.rt.now_ms()
    write(device, inspection, scene="underground")
    device.close()
    clock.advance(86_400)
    device = wrong_clock([-YEARS_MS])
    write(device, inspection, notes="next day")
    device.sync()
    platform = replace(platform, operator=sign_in("auditor"))
    acts = get(platform, f"/journals/{device.store.journals()[0]}/times")["acts"]
    assert [(act["basis"], act["at_ms"]) for act in acts[1:]] == [
        ("exchange", written_ms),
        ("exchange", platform.rt.now_ms()),
    ]
    device.close()


# Keys.


def test_a_key_is_changed_while_a_segment_is_under_way(platform: Platform, on_wire: Handheld, wire: Wire) -> None:
    """The segment signed by the old key is sent again as it is; the next one is signed by the new key; both verify."""
    inspection = inspection_of(platform, on_wire)
    write(on_wire, inspection, scene="old key")
    old = on_wire.public_key
    line = on_wire.link.client
    on_wire.link.client = httpx.Client(transport=httpx.MockTransport(_unreachable), base_url="http://platform.example")
    with pytest.raises(Unreachable):
        on_wire.push()
    on_wire.link.client = line
    on_wire.change_key()
    assert on_wire.public_key != old
    on_wire.push()
    write(on_wire, inspection, scene="new key")
    on_wire.sync()
    assert set(on_wire.store.act_counts()) == {"applied"}
    keys = get(platform, f"/devices/{on_wire.device}/keys")
    assert (keys["number"], keys["public_key"], keys["former"][0]["public_key"]) == (2, on_wire.public_key, old)
    assert [head["seq"] for head in keys["former"][0]["heads"]] == [1]
    with platform.rt.db.read() as session:
        assert check_signatures(session).findings == []


def _unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no network", request=request)


def test_the_reply_to_a_change_of_key_is_lost(platform: Platform, on_wire: Handheld, wire: Wire) -> None:
    """The handheld finds out at its next sync that the new key is in force, and goes on with it."""
    inspection = inspection_of(platform, on_wire)
    wire.lose = "/key"
    with pytest.raises(Unreachable):
        on_wire.change_key()
    on_wire.link._token = ""
    on_wire._backoff = on_wire.link.backoff = Backoff(base_s=0.0, attempts=3)
    write(on_wire, inspection, scene="after")
    on_wire.sync()
    assert get(platform, f"/devices/{on_wire.device}")["key_number"] == 2
    assert set(on_wire.store.act_counts()) == {"applied"}


def test_a_change_of_key_begun_before_the_revocation(platform: Platform, handheld: MakeHandheld) -> None:
    """It is not made any more, and what was written is handed in all the same, under the old key."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="kept")
    begin_change(device.store, device.device, bytes(32))
    write(device, inspection, notes="after it was begun")
    post(platform, f"/devices/{device.device}/revoke")
    device.sync()
    assert (device.store.pending_count(), device.store.act_counts()) == (0, {"quarantined": 2})
    assert get(platform, f"/devices/{device.device}")["key_number"] == 1
    with platform.rt.db.read() as session:
        assert check_signatures(session).findings == []


# Several officers.


def test_two_officers_take_turns_on_one_device(platform: Platform, handheld: MakeHandheld) -> None:
    """Each acts in their own name after unlocking; the scope is both officers'; strangers do not get in."""
    device = handheld()
    first, second = platform.officers[:2]
    token = platform.client().post("/api/v1/sign-in", json=platform.accounts[1]).json()["token"]
    device.join(token, second, "246810")
    assert device.officer == second
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="李样例")
    with pytest.raises(Locked):
        device.unlock(first, "246810")
    device.sync()
    times = get(platform, f"/journals/{device.store.journals()[0]}/times")["acts"]
    assert [act["officer"] for act in times] == [second]
    assert get(platform, f"/devices/{device.device}")["officers"] == [first, second]
    for _ in range(MAX_PIN_FAILURES):
        with pytest.raises(Locked, match="wrong"):
            device.unlock(second, "000000")
    with pytest.raises(Locked, match="password"):
        device.unlock(second, "246810")


def test_an_officer_is_taken_off_a_device(platform: Platform, handheld: MakeHandheld) -> None:
    """What they wrote before and it had not pushed is kept in quarantine; the others work on."""
    device = handheld()
    token = platform.client().post("/api/v1/sign-in", json=platform.accounts[1]).json()["token"]
    device.join(token, platform.officers[1], "246810")
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="李样例")
    path = f"/api/v1/devices/{device.device}/officers/{platform.officers[1]}"
    assert platform.client().delete(path, headers=platform.operator).status_code == 200
    assert platform.client().delete(path, headers=platform.operator).status_code == 404
    device.push()
    assert device.store.act_counts() == {"quarantined": 1}


# Revocation and wipe.


def test_a_revoked_handheld_hands_in_to_quarantine(platform: Platform, handheld: MakeHandheld) -> None:
    """Receipts, and nothing else: nothing is pulled, nothing is merged, the office sees every act."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="kept")
    evidence = device.capture(inspection, PICTURE)
    post(platform, f"/devices/{device.device}/revoke")
    device.sync()
    assert device.store.act_counts() == {"quarantined": 2}
    assert device.store.pending_count() == 0
    assert [file.id for file in device.store.evidence(uploaded=True)] == [evidence]
    with pytest.raises(Refused, match="device-revoked"):
        device.pull()
    listed = get(platform, "/acts")["acts"]
    assert [act["problem"]["code"] for act in listed] == ["device-revoked"] * 2
    assert get(platform, f"/devices/{device.device}")["sealed_acts"] == 2
    receipts = [json.loads(line) for line in device.store.receipts(device.store.journals()[0])]
    assert {receipt["verdict"] for receipt in receipts} == {"quarantined"}


def test_a_handheld_is_wiped(platform: Platform, handheld: MakeHandheld, tmp_path: Path) -> None:
    """What is pending arrives and is merged; then nothing of it is left on the device; the office has its word."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, contact="secret contact")
    device.capture(inspection, PICTURE)
    post(platform, f"/devices/{device.device}/wipe", {"reason": "上交 / handed back"})
    ident = device.device
    device.sync()
    shown = get(platform, f"/devices/{ident}")
    assert (shown["status"], shown["wipe_report"]["acts_lost"], shown["wipe_report"]["files_lost"]) == ("wiped", 0, 0)
    left = b"".join(path.read_bytes() for path in (tmp_path / "handheld-0").rglob("*") if path.is_file())
    assert b"secret" not in left
    assert ident.encode() not in left
    assert (device.device, device.store.act_counts(), device.store.evidence()) == ("", {}, [])


def test_a_handheld_with_nothing_to_hand_in_is_wiped_at_once(platform: Platform, handheld: MakeHandheld) -> None:
    """It hears of the order only when it is not let pull any more, and needs no second sync for it."""
    device = handheld()
    device.sync()
    ident = device.device
    post(platform, f"/devices/{ident}/wipe", {"reason": "上交 / handed back"})
    device.sync()
    assert get(platform, f"/devices/{ident}")["status"] == "wiped"
    assert device.device == ""


def test_a_revoked_handheld_hears_at_once_of_a_wipe(platform: Platform, handheld: MakeHandheld) -> None:
    """With its token to hand in still good, and nothing to hand in, the next sync is the one that erases."""
    device = handheld()
    ident = device.device
    post(platform, f"/devices/{ident}/revoke")
    with pytest.raises(Refused, match="device-revoked"):
        device.pull()
    assert device.link.standing.problem["code"] == "device-revoked"
    post(platform, f"/devices/{ident}/wipe", {"reason": "丢失 / lost"})
    device.sync()
    assert get(platform, f"/devices/{ident}")["status"] == "wiped"


def test_a_wipe_survives_crashes_and_lost_replies(
    platform: Platform, on_wire: Handheld, wire: Wire, tmp_path: Path
) -> None:
    """Erased once, told until it is heard; what could not be handed in is named."""
    inspection = inspection_of(platform, on_wire)
    write(on_wire, inspection, scene="lost")
    ident = on_wire.device
    post(platform, f"/devices/{ident}/wipe", {"reason": "丢失 / lost"})
    on_wire.link._token = ""
    on_wire.link.sign_in()
    wire.lose = "/wiped"
    order_ms = on_wire.link.standing.wipe_ordered_at_ms
    assert order_ms is not None
    with pytest.raises(Unreachable):
        on_wire.wipe(order_ms)
    on_wire.close()
    assert (tmp_path / "handheld-0" / LAST_WORD).exists()
    again = Handheld(tmp_path / "handheld-0", platform.client(), backoff=Backoff(base_s=0.0, attempts=2))
    again.sync()
    assert not (tmp_path / "handheld-0" / LAST_WORD).exists()
    assert get(platform, f"/devices/{ident}")["wipe_report"]["acts_lost"] == 1
    again.close()


def test_a_last_word_that_a_restored_server_does_not_want(
    platform: Platform, on_wire: Handheld, wire: Wire, tmp_path: Path
) -> None:
    """The backup knows of no order: the erased handheld is enrolled anew and works on, without its last word."""
    ident = on_wire.device
    post(platform, f"/devices/{ident}/wipe", {"reason": "上交 / handed back"})
    wire.lose = "/wiped"
    with pytest.raises(Unreachable):
        on_wire.sync()
    with platform.rt.db.write() as session:
        row = session.get_one(Device, ident)
        row.status, row.wipe_ordered_at, row.wiped_at = "active", None, None
    token = platform.client().post("/api/v1/sign-in", json=platform.accounts[0]).json()["token"]
    on_wire.enrol(token, platform.officers[0], "again")
    assert on_wire.device != ident
    post(platform, f"/devices/{on_wire.device}/approve")
    on_wire.sync()
    assert not (tmp_path / "handheld-0" / LAST_WORD).exists()
    assert on_wire.store.records.count() > 0


def test_a_handheld_whose_revocation_was_forgotten_syncs_again(platform: Platform, handheld: MakeHandheld) -> None:
    """Its token for handing in has lost its reason: it signs in anew, and is not called too old."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="sealed")
    post(platform, f"/devices/{device.device}/revoke")
    device.sync()
    with platform.rt.db.write() as session:
        row = session.get_one(Device, device.device)
        row.status, row.revoked_at = "active", None
    device.sync()
    assert device.link.standing.purpose == "sync"
    write(device, inspection, scene="merged")
    device.sync()
    assert device.store.act_counts() == {"quarantined": 1, "applied": 1}


def test_a_handheld_that_only_hands_in_hears_of_a_restored_server(platform: Platform, handheld: MakeHandheld) -> None:
    """It pulls nothing, so statuses tell it the epoch: what the server has lost is handed in once more."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="kept")
    device.sync()
    write(device, inspection, scene="lost")
    post(platform, f"/devices/{device.device}/revoke")
    device.sync()
    assert device.store.pending_count() == 0
    with platform.rt.db.write() as session:  # what a backup from before the second act holds
        session.execute(delete(Act).where(Act.device == device.device, Act.seq == 2))
        session.execute(update(Journal).where(Journal.device == device.device).values(head_seq=1))
        new_epoch(session, platform.rt)
    device.sync()
    assert device.store.pending_count() == 1


def test_a_file_that_cannot_be_uploaded_keeps_nothing_else_waiting(
    platform: Platform, handheld: MakeHandheld, tmp_path: Path
) -> None:
    """The device pulls on and says what is wrong; and it can still be wiped, with the file named as lost."""
    device = handheld()
    inspection = inspection_of(platform, device)
    device.capture(inspection, PICTURE)
    for path in (tmp_path / "handheld-0" / "evidence").iterdir():
        path.unlink()
    later = dispatched(platform, 1)
    with pytest.raises(OSError, match="No such file"):
        device.sync()
    assert set(later) <= set(device.store.ids("task"))
    ident = device.device
    post(platform, f"/devices/{ident}/wipe", {"reason": "丢失 / lost"})
    device.sync()
    shown = get(platform, f"/devices/{ident}")
    assert (shown["status"], shown["wipe_report"]["files_lost"]) == ("wiped", 1)


# Versions.


def test_a_client_that_is_too_old_still_hands_in(
    platform: Platform, handheld: MakeHandheld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its acts are merged as ever; for the rest it is told the least version that is served."""
    device = handheld()
    inspection = inspection_of(platform, device)
    write(device, inspection, scene="kept")
    monkeypatch.setattr(standing, "PROTOCOL", 0)
    device.link._token = ""
    device.sync()
    assert device.store.act_counts() == {"applied": 1}
    assert (device.link.standing.problem["code"], device.link.standing.problem["limit"]) == ("client-too-old", 1)
    with pytest.raises(Refused, match="client-too-old"):
        device.pull()
    assert get(platform, f"/devices/{device.device}")["client"]["protocol"] == 0


def test_unknown_fields_make_the_round_trip(
    platform: Platform, handheld: MakeHandheld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer handheld's field passes the server and an older handheld untouched, and comes back."""
    newer, older = handheld(), handheld(1)
    inspection = inspection_of(platform, newer)
    older.pull()
    value = {"deep": [1, 2.5, None, "天气"], "z": 1}
    real = newer.writer._chain

    def of_version_2(header: Any, body: bytes, personal: bytes) -> Any:  # noqa: ANN401 - the writer's own types
        members = json.loads(body)
        members["fields"]["weather"] = value
        return real(replace(header, schema=2), json.dumps(members, ensure_ascii=False).encode(), personal)

    writer = newer.writer
    monkeypatch.setattr(writer, "_chain", of_version_2)
    writer.write(newer.open("inspection", inspection), {"scene": "first"})
    newer.sync()
    assert newer.store.act_counts() == {"applied": 1}
    older.sync()
    write(older, inspection, scene="second")
    older.sync()
    newer.sync()
    for device in (older, newer):
        form = device.open("inspection", inspection)
        assert form.value("scene") == "second"
        assert [entry.value for entry in form.state.live("weather")] == [value]
