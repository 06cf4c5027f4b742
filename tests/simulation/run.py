"""One run of the simulation: from one seed, everything that happens and whether every promise held.

No threads, no sockets, no real time. Steps interleave wherever a request is about to be delivered, which is wherever
transactions can interleave. The examination of media is left out: it needs a child process.
"""

import hashlib
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from flask import got_request_exception
from sqlalchemy import select

from device_sim.handheld.journal import ActRefused
from device_sim.handheld.link import Refused, Unreachable
from device_sim.handheld.reconciling import Reconciler
from server.devices.models import Device
from server.fieldsync import snapshots
from server.inspections.models import Inspection
from server.records.models import Act, SyncedRecord
from server.worker import STEPS
from tests.simulation import promises
from tests.simulation.devices import YEARS_TO_2035_MS, DeviceCrash, SimDevice, agrees_by_its_feed
from tests.simulation.field_work import FieldWork
from tests.simulation.in_process import CRASH_AFTER, CRASH_BEFORE, PINS, Platform, ServerCrash, SimClock, fast_folder
from tests.simulation.lifecycle import Lifecycle, check_erasures, check_handed_in, check_wiped
from tests.simulation.network import Network, Violation
from tests.simulation.office import Office

DEFAULT_STEPS = 60
MAX_DEVICES = 6
MAX_DEPTH = 2
"""How deep steps may interrupt one another."""
IDLE_STEPS = ("dispatch-leads", "aggregate-readings", "clear-old-telemetry", "draw-derivatives", "stamp-heads")
"""Steps without anything to do here: there are no sensors, no pictures that are any, and no authority for time."""
WORKER_STEPS = tuple(step for step in STEPS if step.name not in ("examine-evidence", *IDLE_STEPS))
CLOSE_STEP = "close-inspections"
CHECKED_TWICE = 4
"""Each fourth seed is checked before anything is decided, too, and syncs in full each time that all is quiet. In the
others handhelds only hand over what they have until the last sync: pulling what is checked later changes nothing."""
SNAPSHOT_RECORDS = 5
"""From how many shared records on a first sync begins with a snapshot here; there are few records."""
DUE_S = 5
"""Longer than a blocked inspection waits for its next try."""


@dataclass
class Outcome:
    """What came of one seed."""

    seed: int
    log: list[str] = field(default_factory=list)
    failure: str = ""
    digest: str = ""
    """Hash over the log and everything in the database: equal for equal runs."""
    counts: dict[str, int] = field(default_factory=dict)


def run_seed(seed: int, steps: int = DEFAULT_STEPS) -> Outcome:
    """Run one seed in a fresh temporary folder."""
    outcome = Outcome(seed)
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-seed-", dir=fast_folder()))
    simulation: Simulation | None = None
    faults: list[str] = []

    def remember(_app: Any, exception: BaseException, **_extra: Any) -> None:  # noqa: ANN401 - a Flask signal
        faults.append("".join(traceback.format_exception(exception)))

    try:
        with (
            got_request_exception.connected_to(remember),
            patch.object(snapshots, "MIN_RECORDS", SNAPSHOT_RECORDS),
            patch.object(Reconciler, "agrees", agrees_by_its_feed),
        ):
            simulation = Simulation(folder, seed, outcome.log)
            simulation.run(steps)
        outcome.digest = simulation.digest()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is this seed's failure
        known = isinstance(error, Violation)
        outcome.failure = str(error) if known else traceback.format_exc()
        outcome.failure += "\n".join(faults[-1:])
    finally:
        if simulation is not None:
            outcome.counts = simulation.counts()
            simulation.close()
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


class Simulation:
    """Everything there is in one run."""

    def __init__(self, folder: Path, seed: int, log: list[str]) -> None:
        """Start the platform with the first handhelds, which have not synced yet; nothing goes wrong here."""
        self.folder, self.log = folder, log
        self.random = random.Random(f"simulation {seed}")
        self.seed = seed
        self.checked_twice = seed % CHECKED_TWICE == 0
        self.clock = SimClock()
        self.platform = Platform(folder, seed, self.clock)
        chance, damage = random.Random(f"network {seed}"), random.Random(f"damage {seed}")
        self.network = Network(self.platform, chance, log.append, self._between, damage)
        self.work = FieldWork(self.platform.template, random.Random(f"officers {seed}"))
        self.office = Office(self.platform, self.network, random.Random(f"office {seed}"), log)
        self.life = Lifecycle(self.platform, self.office, random.Random(f"lifecycle {seed}"))
        self.devices: list[SimDevice] = []
        self.depth = 0
        self.faulty(on=False)
        self._dispatch()
        for officer in range(self.random.randint(2, 4)):
            shutil.copytree(self.platform.template.handhelds[officer], folder / f"device-{officer}")
            self._switch_on(officer).approved = True
        self.faulty(on=True)

    def faulty(self, *, on: bool) -> None:
        """Let things go wrong, or not."""
        self.network.faulty = on
        self.network.fault_rate = self.random.choice((0.02, 0.1, 0.25))

    def close(self) -> None:
        """Switch everything off."""
        for device in self.devices:
            device.close()
        self.office.close()
        self.platform.stop()

    def counts(self) -> dict[str, int]:
        """What happened, in numbers."""
        totals = {"requests": self.network.requests, "server starts": self.platform.starts}
        for device in self.devices:
            for name in ("forks", "keys_repeated"):
                totals[name] = totals.get(name, 0) + device.handheld.counts[name]
            totals["acts"] = totals.get("acts", 0) + len(device.written)
            totals["boots"] = totals.get("boots", 0) + device.boots
        return totals

    def digest(self) -> str:
        """Hash over the log and the database."""
        found = hashlib.sha256("\n".join(self.log).encode())
        with self.platform.rt.db.read() as session:
            for act in session.scalars(select(Act).order_by(Act.journal, Act.seq)):
                found.update(act.header + act.body + act.personal + act.receipt + act.status.encode())
            for line in session.scalars(select(SyncedRecord.line).order_by(SyncedRecord.position)):
                found.update(line)
        return found.hexdigest()

    # The steps.

    def run(self, steps: int) -> None:
        """Let things happen, then let everything arrive, and check."""
        middle = self.random.randrange(steps)
        for number in range(steps):
            self.log.append(f"step {number}")
            self._step()
            if number == middle:
                promises.check_database(self.platform.rt, self.network.receipts)
        self.log.append("quiet")
        self._quiet()
        if self.checked_twice:
            self._all_sync()
            self.check()
        self.office.decide_everything()
        self._finish()
        self.settle()

    def settle(self) -> None:
        """Let everything arrive, and see that every promise held."""
        self._quiet()
        self._all_sync()
        if any(not device.handheld.device for device in self.devices):  # it has just erased itself, by an order
            self._all_sync()
        self.check(proofs=True)

    def _step(self) -> None:
        choices = self._choices()
        draw = self.random.random() * sum(weight for weight, _ in choices)
        for weight, action in choices:
            draw -= weight
            if draw < 0:
                action()
                return

    def _choices(self) -> tuple[tuple[float, Callable[[], None]], ...]:
        return (
            (36, self._officer_acts),
            (18, self._device_syncs),
            (4, self._device_does_half),
            (2, self._push_ahead),
            (6, self.network.deliver_late),
            (3, self._dispatch),
            (5, self.office.decide),
            (2, self.office.undo),
            (2, self.office.rule),
            (2, self.office.reassign),
            (0.7, self._revoke),
            (0.5, self._order_wipe),
            (2.5, partial(self._life, "shared", self.life.share)),
            (2.5, partial(self._life, "unlocked", self.life.take_turns)),
            (1, partial(self._life, "key", self.life.change_key)),
            (0.5, self._take_off),
            (2.5, self._order_erasure),
            (1.5, self.life.approve_erasures),
            (1.5, self._grow),
            (9, self._worker),
            (3, self._reboot),
            (4, self._back_up),
            (4, self._restore),
            (5, self._time_passes),
            (2, self._clock_jumps),
            (1.5, self._server_restarts),
            (1.5, self._server_backed_up),
            (1.5, self._server_restored),
        )

    def _between(self, name: str) -> None:
        """A request is about to be delivered: others may go first, and its sender may die."""
        if not self.network.faulty:
            return
        sender = next((device for device in self.devices if device.name == name), None)
        if sender is not None and self.random.random() < 0.008:
            raise DeviceCrash
        if self.depth < MAX_DEPTH and self.random.random() < 0.06:
            self.depth += 1
            try:
                self._step()
            finally:
                self.depth -= 1

    def _someone(self) -> SimDevice | None:
        free = [device for device in self.devices if not device.busy and device.handheld.device]
        return self.random.choice(free) if free else None

    def _use(self, device: SimDevice, what: str, action: Callable[[], Any]) -> None:
        """Do something with a device; it may die at any save."""
        self.log.append(f"{device.name}: {what}")
        forks = device.handheld.counts["forks"]
        device.busy = True
        if self.network.faulty and self.random.random() < 0.05:
            device.crash_in = self.random.randint(1, 8)
        try:
            result = action()
            if isinstance(result, str):
                self.log.append(f"  {result}")
        except DeviceCrash:
            self.log.append(f"{device.name} dies")
            device.reboot()
        except Unreachable:
            self.log.append(f"  {device.name} gives up for now")
        except Refused as error:
            self.log.append(f"  {device.name} is refused: {error}")
            expected = ("unauthenticated", "device-revoked", "device-wiping")
            if error.code in ("bad-request", "malformed-json") and device.name in self.network.unreadable:
                self.network.unreadable.discard(device.name)  # it was damaged on the way, and is sent again as it was
            elif error.code not in (*expected, *(("bad-signature",) if self.platform.restores else ())):
                raise Violation(f"{device.name} was refused: {error}") from error
        except ActRefused as error:
            raise Violation(f"{device.name} cannot write: {error}") from error
        finally:
            device.busy, device.crash_in = False, None
        device.harvest()
        if device.handheld.counts["forks"] != forks:
            device.forms.clear()  # dots in them are renamed: a real handheld opens them again

    def _officer_acts(self) -> None:
        device = self._someone()
        if device is not None:
            for _ in range(self.random.choice((1, 1, 2, 4))):
                self._use(device, "officer", lambda: self.work.act(device))

    def _device_syncs(self) -> None:
        device = self._someone()
        if device is not None:
            self._use(device, "sync", device.handheld.sync)

    def _device_does_half(self) -> None:
        device = self._someone()
        if device is not None:
            name = self.random.choice(("push", "pull", "upload", "refresh_statuses"))
            self._use(device, name, getattr(device.handheld, name))

    def _life(self, what: str, action: Callable[[SimDevice], str]) -> None:
        device = self._someone()
        if device is not None and device.approved:
            self._use(device, what, partial(action, device))

    def _order_wipe(self) -> None:
        device = self._someone()
        if device is not None and device.approved and self.random.random() < 0.5:
            self.life.order_wipe(device)

    def _take_off(self) -> None:
        device = self._someone()
        if device is not None:
            self.life.take_off(device)

    def _order_erasure(self) -> None:
        device = self._someone()
        if device is not None:
            self.life.order_erasure(device)

    def _push_ahead(self) -> None:
        device = self._someone()
        if device is not None and device.approved:
            self._use(device, "pushes ahead", partial(self.work.push_ahead, device))

    def _reboot(self) -> None:
        device = self._someone()
        if device is not None:
            self.log.append(f"{device.name} reboots")
            device.reboot()

    def _back_up(self) -> None:
        device = self._someone()
        if device is not None:
            self.log.append(f"{device.name} is backed up")
            device.back_up()

    def _restore(self) -> None:
        copied = [device for device in self.devices if device.copy is not None and not device.busy]
        if copied:
            device = self.random.choice(copied)
            self.log.append(f"{device.name} is restored")
            device.restore()

    def _time_passes(self) -> None:
        seconds = self.random.choice((1, 60, 1_000, 90_000))
        self.log.append(f"{seconds} s pass")
        self.clock.advance(seconds)

    def _clock_jumps(self) -> None:
        device = self._someone()
        if device is not None:
            device.skew_ms = self.random.choice((0, YEARS_TO_2035_MS, -3_600_000, -700_000, 86_400_000))
            self.log.append(f"{device.name}: clock is off by {device.skew_ms} ms")

    def _server_restarts(self) -> None:
        self.log.append("server restarts")
        self.platform.restart()

    def _server_backed_up(self) -> None:
        self.log.append("server is backed up")
        self.platform.back_up()

    def _server_restored(self) -> None:
        """Put the backup back. It may have forgotten devices, approvals, revocations and changes of key."""
        if self.platform.backup is None:
            return
        self.log.append("server is restored")
        self.platform.restore()
        with self.platform.rt.db.read() as session:
            kept = {(row.journal, row.seq) for row in session.execute(select(Act.journal, Act.seq))}
        receipts = self.network.receipts
        for dot in receipts.keys() - kept:
            del receipts[dot]
        self._standings()

    def _standings(self) -> None:
        """See how the devices stand with the restored server: what was decided since its backup is forgotten."""
        with self.platform.rt.db.read() as session:
            known = {row.id: row.status for row in session.execute(select(Device.id, Device.status))}
        for device in self.devices:
            status = known.get(device.handheld.device, "")
            device.forgotten = bool(device.handheld.device) and not status
            device.approved, device.revoked = status == "active", status == "revoked"
            device.wiped_as.clear()

    def _worker(self, *, whole: bool = False) -> None:
        for step in WORKER_STEPS if whole else (self.random.choice(WORKER_STEPS),):
            if self.network.faulty and self.random.random() < 0.1:
                self.platform.crash_in = (1, self.random.choice((CRASH_BEFORE, CRASH_AFTER)))
            before = self._closing_before() if step.name == CLOSE_STEP else None
            try:
                done = step.run(self.platform.rt)
                self.log.append(f"worker: {step.name}: {done}")
            except ServerCrash as crash:
                self.log.append(f"worker dies in {step.name} {crash}")
                self.platform.restart()
                done = None
            self.platform.crash_in = None
            if before is not None:
                self._check_closing(*before, done=done is not None)

    def _closing_before(self) -> tuple[set[str], set[str], set[str]]:
        with self.platform.rt.db.read() as session:
            ready = promises.ready_to_close(session, self.clock.now())
            rows = list(session.execute(select(Inspection.id, Inspection.check_after, Inspection.closed_at)))
        closed = {row.id for row in rows if row.closed_at is not None}
        return ready, {row.id for row in rows if row.check_after <= self.clock.now()}, closed

    def _check_closing(self, ready: set[str], due: set[str], before: set[str], *, done: bool) -> None:
        with self.platform.rt.db.read() as session:
            after = set(session.scalars(select(Inspection.id).where(Inspection.closed_at.is_not(None))))
        promises.require(after - before <= ready, f"closed though blocked: {sorted(after - before - ready)}")
        late = (ready & due) - after
        promises.require(not (done and late), f"nothing blocks {sorted(late)}, and yet they stay open")

    # The office.

    def _dispatch(self) -> None:
        officers = self.platform.template.officers
        few = len(self.devices) == 1
        self.office.dispatch(list(officers[:2]) if few else self.random.sample(officers[: len(self.devices) or 2], 2))

    def _revoke(self) -> None:
        device = self._someone()
        if device is not None and not device.revoked and self.random.random() < 0.5:
            self.office.revoke(device)

    # Devices come into being.

    def _switch_on(self, officer: int) -> SimDevice:
        name = f"device-{len(self.devices)}"
        chance = random.Random(f"{name} {self.seed}")
        device = SimDevice(
            name, officer, self.folder / name, self.clock, chance, self.network.client(name),
            skew_ms=self.random.choice((0, 0, 0, YEARS_TO_2035_MS, -7_200_000)),
        )  # fmt: skip
        self.devices.append(device)
        return device

    def _grow(self) -> None:
        """Enrol another device, or bring one that is being enrolled a step further."""
        waiting = [device for device in self.devices if device.name not in self._approved and not device.busy]
        if waiting:
            device = waiting[0]
        elif len(self.devices) < MAX_DEVICES:
            device = self._switch_on(self.random.randrange(min(4, len(self.devices))))
        else:
            return
        self._enrol(device)
        if device.handheld.device:
            self.office.approve(device)

    def _enrol(self, device: SimDevice) -> None:
        template = self.platform.template
        token = self.platform.bearer(template.accounts[device.officer])["Authorization"].removeprefix("Bearer ")
        handheld, officer = device.handheld, template.officers[device.officer]

        def enrol() -> None:
            try:
                device.copy = None if device.forgotten else device.copy  # it would be forgotten again
                handheld.enrol(token, officer, device.name, pin=PINS[device.officer])
            except (httpx.RequestError, ValueError) as error:
                self.log.append(f"  not enrolled yet: {error}")

        self._use(device, "enrols", enrol)

    @property
    def _approved(self) -> set[str]:
        return {device.name for device in self.devices if device.approved}

    # The end.

    def _quiet(self) -> None:
        """Nothing goes wrong any more: everything arrives, and the worker finishes."""
        self.faulty(on=False)
        while self.network.in_flight:
            self.network.deliver_late()
        self.platform.restart()
        with self.platform.rt.db.read() as session:  # a revocation may have arrived although its answer did not
            revoked = set(session.scalars(select(Device.id).where(Device.status == "revoked")))
        for device in self.devices:
            device.revoked = device.handheld.device in revoked
        for _ in range(2 if self.platform.restores else 1):  # a new epoch is heard of in one sync, answered in the next
            if self.platform.restores or self.checked_twice:
                self._all_sync()
            else:
                self._all_hand_over()
            for device in self._revoked():
                self._use(device, "hands in", device.handheld.sync)
        self.life.approve_erasures()
        self.clock.advance(DUE_S)
        self._worker(whole=True)
        while self.life.approved():
            self._worker(whole=True)

    def _revoked(self) -> list[SimDevice]:
        return [device for device in self.devices if device.revoked and device.handheld.device]

    def _all_hand_over(self) -> None:
        for device in self._alive():
            self._use(device, "push", device.handheld.push)
            self._use(device, "upload", device.handheld.upload)

    def _all_sync(self) -> None:
        for device in self._alive():
            self._use(device, "sync", device.handheld.sync)

    def _alive(self) -> list[SimDevice]:
        for device in self.devices:
            if not device.approved and not device.revoked:
                if not device.handheld.device or device.forgotten:
                    self._enrol(device)
                self.office.approve(device)
        return [device for device in self.devices if not device.revoked]

    def check(self, *, proofs: bool = False) -> None:
        """Check every promise; everything has arrived. Proofs only grow, so the last look at them is enough."""
        rt = self.platform.rt
        world = promises.check_database(rt, self.network.receipts)
        promises.check_acknowledged(self.network.receipts, self.devices, world)
        promises.check_evidence(rt, world, self.work.captured)
        promises.check_behaviors(rt)
        alive = self._alive()
        for device in alive:
            promises.check_device(rt, world, device)
        for device in self._revoked():
            check_handed_in(world, device)
        check_erasures(rt, world, alive)
        check_wiped(rt, self.devices)
        if proofs:
            promises.check_proofs(rt)

    def _finish(self) -> None:
        """Officers complete, sign and submit what they can, so that closing is seen as well."""
        for device in self._alive():
            self._use(device, "pull", device.handheld.pull)
            for inspection in device.handheld.store.ids("inspection"):
                self._use(device, "finishes", partial(self._complete, device, inspection))
            self._use(device, "push", device.handheld.push)

    def _complete(self, device: SimDevice, inspection: str) -> None:
        handheld = device.handheld
        form = handheld.open("inspection", inspection)
        if form.deleted or handheld.officer not in (form.value("officers") or ()) or form.value("status") == "closed":
            return
        handheld.write(form, self.work.missing_fields(form))
        form = handheld.open("inspection", inspection)
        handheld.write(form, {"signatures": self.work.signature(device, form), "status": "submitted"})
