"""What becomes of handhelds and of personal data: sharing, changes of key, handing in, wiping, lawful erasure."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from sqlalchemy import select

from device_sim.handheld.link import Refused
from device_sim.handheld.sharing import officers_in
from schemas.kinds import KINDS, personal_fields
from server.devices.models import Device
from server.fieldsync.models import ErasureNotice, ErasureOrder
from server.runtime import Runtime
from sync.acts import is_erased
from tests.simulation.devices import SimDevice
from tests.simulation.in_process import PINS, Platform
from tests.simulation.office import Office
from tests.simulation.promises import World, require

JOIN_REFUSALS = ("not-found", "unauthenticated", "forbidden", "limit-exceeded", "bad-request", "malformed-json")
"""What an officer may hear who joins a device that is not active any more, or whose request was cut."""
BASIS = "个人信息保护法第四十七条"


@dataclass
class Lifecycle:
    """Who works on which handheld, under which key, and what of it must go."""

    platform: Platform
    office: Office
    random: random.Random

    # On the handheld.

    def share(self, device: SimDevice) -> str:
        """Another officer begins to work on a handheld, with password and PIN."""
        number = self.random.randrange(len(PINS))
        template = self.platform.template
        token = self.platform.bearer(template.accounts[number])["Authorization"].removeprefix("Bearer ")
        try:
            device.handheld.join(token, template.officers[number], PINS[number])
        except (httpx.RequestError, ValueError) as error:
            return f"not joined: {error}"
        except Refused as refusal:
            if refusal.code not in JOIN_REFUSALS:
                raise
            return f"not joined: {refusal.code}"
        return f"officer {number} joins"

    def take_turns(self, device: SimDevice) -> str:
        """One of its officers unlocks a handheld by PIN; no network is needed."""
        known = sorted(officers_in(device.handheld.store))
        if len(known) < 2:
            return "nobody to take turns with"
        number = self.platform.template.officers.index(self.random.choice(known))
        device.handheld.unlock(self.platform.template.officers[number], PINS[number])
        device.forms.clear()
        return f"officer {number} unlocks"

    def change_key(self, device: SimDevice) -> str:
        """Change a handheld's key. Older copies of it have a key that is none any more: they cannot come back."""
        device.copy = None
        device.handheld.change_key()
        return f"{device.handheld.counts['keys_changed']} keys changed"

    # In the office.

    def take_off(self, device: SimDevice) -> None:
        """Take an officer off a shared device."""
        number = self.random.randrange(len(PINS))
        path = f"/api/v1/devices/{device.handheld.device}/officers/{self.platform.template.officers[number]}"
        self.office.must(self.office.ask("DELETE", path), 200, 404, 409)

    def order_wipe(self, device: SimDevice) -> None:
        """Order a handheld to hand in what it has and erase itself."""
        path = f"/api/v1/devices/{device.handheld.device}/wipe"
        self.office.must(self.office.ask("POST", path, json={"reason": "样例：交回"}), 200, 409)

    def order_erasure(self, device: SimDevice) -> None:
        """Ask for the erasure of the personal data of an inspection that a handheld shows."""
        inspections = device.handheld.store.ids("inspection")
        names = personal_fields(KINDS["inspection"].schema)
        telling = [one for one in inspections if names & device.handheld.open("inspection", one).readings.keys()]
        if not telling:
            return
        key = ("inspection", self.random.choice(telling))
        body = {"records": [{"kind": key[0], "id": key[1]}], "basis": BASIS, "reason": "当事人请求删除"}
        self.office.must(self.office.ask("POST", "/api/v1/erasures", json=body), 201, 404)

    def approve_erasures(self) -> None:
        """A second person approves what was asked for; the worker does it."""
        for order in self.office.rows("/api/v1/erasures", "orders"):
            if order["status"] == "requested":
                path = f"/api/v1/erasures/{order['id']}/approve"
                self.office.must(self.office.ask("POST", path, person=1), 200, 409)

    def approved(self) -> int:
        """How many orders the worker has still to execute."""
        with self.platform.rt.db.read() as session:
            return len(list(session.scalars(select(ErasureOrder.id).where(ErasureOrder.status == "approved"))))


# Promises.


def check_erasures(rt: Runtime, world: World, devices: list[SimDevice]) -> None:
    """What was erased is nowhere any more: not in acts, not in lines, and not on handhelds that still pull."""
    with rt.db.read() as session:
        waiting = {row.device for row in session.scalars(select(ErasureNotice)) if row.acknowledged_at is None}
    for (kind, record), order in world.erased_records.items():
        for dot, act in world.acts.items():
            if (act.kind, act.record) == (kind, record):
                require(not act.personal, f"{dot} still has its personal part, which order {order} erased")
        private = personal_fields(KINDS[kind].schema)
        row = world.rows.get((kind, record))
        for served in json.loads(row.line)["acts"] if row else ():
            said = {name: value for name, value in served["fields"].items() if name in private and value is not None}
            require(not said, f"{kind} {record} still says {sorted(said)}")
    for device in devices:
        require(device.handheld.device not in waiting, f"{device.name} has not erased what it was told to")
        rows = device.handheld.store.db.execute("SELECT kind, record, personal FROM acts").fetchall()
        left = [key[:2] for key in rows if key[:2] in world.erased_records and key[2] and not is_erased(key[2])]
        require(not left, f"{device.name} still has personal data of {left}")


def check_wiped(rt: Runtime, devices: list[SimDevice]) -> None:
    """Handhelds erased themselves only by order, and after they had handed in everything."""
    with rt.db.read() as session:
        rows: Mapping[str, Device] = {row.id: row for row in session.scalars(select(Device))}
        session.expunge_all()
    for device in devices:
        for ident in device.wiped_as:
            row = rows.get(ident)
            require(row is not None and row.wipe_ordered_at is not None, f"{device.name} was wiped without an order")
            if row is not None and row.status == "wiped":
                report = row.wipe_report or {}
                require(report.get("acts_lost") == 0, f"{device.name} was wiped before it had handed in: {report}")


def check_handed_in(world: World, device: SimDevice) -> None:
    """A revoked handheld kept nothing back: each of its acts is there as it was written, whatever became of it."""
    rows = device.handheld.store.db.execute("SELECT journal, seq, hash FROM acts WHERE abandoned = 0").fetchall()
    for journal, seq, digest in rows:
        act = world.acts.get(f"{journal}:{seq}")
        require(act is not None and act.hash == digest, f"{device.name} (revoked) has not handed in {journal}:{seq}")
