"""What must hold, at every moment or once everything has arrived. Each broken promise is a `Violation`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from device_sim.handheld.damaged import is_whole
from server.behaviors.models import Behavior
from server.devices.models import Device
from server.evidence.models import VERIFIED, Evidence
from server.evidence.store import DirectoryStore
from server.fieldsync.models import ErasedAct, ErasedRecord
from server.inspections.models import Inspection
from server.records.models import Act, Conflict, RecordAssignee, SyncedRecord
from server.runtime import Runtime
from server.verifying import verify_everything
from sync.acts import ActParts
from tests.simulation.devices import SimDevice
from tests.simulation.in_process import DEPARTMENT, REGION
from tests.simulation.network import Violation
from tests.simulation.oracle import RULED, SETTLED, Key, PlainRecord, fold, plain_act

PARENTS = {"inspection": "entity", "answer": "inspection", "evidence": "inspection", "rectification": "inspection"}
NEEDED = ("entity", "checklist", "inspected_at", "form", "category", "result", "conclusion", "officers")


def require(holds: bool, what: str) -> None:
    """Raise unless something holds."""
    if not holds:
        raise Violation(what)


@dataclass(frozen=True)
class World:
    """The database at one moment, and what its acts amount to by the oracle."""

    acts: Mapping[str, Act]
    rows: Mapping[Key, SyncedRecord]
    records: Mapping[Key, PlainRecord]
    erased: Mapping[str, tuple[str, ...]]
    """The fields that were lawfully erased, by act."""
    erased_records: Mapping[Key, str]
    """Records whose personal data was erased, each with the order."""

    def held_on(self, ids: Iterable[str]) -> bool:
        """Tell whether an act on one of these records is held."""
        wanted = set(ids)
        return any(act.status == "held" and act.record in wanted for act in self.acts.values())


def look(session: Session) -> World:
    """Read the database."""
    acts = {f"{act.journal}:{act.seq}": act for act in session.scalars(select(Act).order_by(Act.journal, Act.seq))}
    rows = {(row.kind, row.id): row for row in session.scalars(select(SyncedRecord))}
    erased = {f"{row.journal}:{row.seq}": tuple(row.fields) for row in session.scalars(select(ErasedAct))}
    gone = {(row.kind, row.record): row.order for row in session.scalars(select(ErasedRecord))}
    session.expunge_all()  # what was read stays readable after the session
    settled = [
        plain_act(act.header, act.body, act.personal, act.at_ms, erased.get(dot, ()))
        for dot, act in acts.items()
        if act.status in SETTLED
    ]
    return World(acts, rows, fold(settled), erased, gone)


def check_database(rt: Runtime, receipts: Mapping[tuple[str, int], bytes]) -> World:
    """Hold at every moment: nothing is lost, records are what their acts say, conflicts are exactly the real ones."""
    with rt.db.read() as session:
        world = look(session)
        conflicts = session.execute(
            select(Conflict.kind, Conflict.record, Conflict.field, Conflict.status, Conflict.held)
        ).all()
    for (journal, seq), line in receipts.items():
        act = world.acts.get(f"{journal}:{seq}")
        require(act is not None and act.receipt == line, f"acknowledged act {journal}:{seq} is not there as receipted")
    require(world.rows.keys() == world.records.keys(), "records without acts, or acts without their record")
    for key, record in world.records.items():
        _check_record(key, record, world)
    real = sorted((*key, name) for key, record in world.records.items() for name in record.conflicts())
    shown = sorted((row.kind, row.record, row.field) for row in conflicts if row.status == "open" and row.held is None)
    require(real == shown, f"open conflicts are {shown}, the acts say {real}")
    for dot, act in world.acts.items():
        if act.status == "quarantined":
            require(bool(act.problem), f"{dot} is quarantined without a reason")
        if act.status == "held":
            require(_rightly_held(act, world), f"{dot} is held for {act.waiting_for} though its causes are there")
    return world


def _check_record(key: Key, record: PlainRecord, world: World) -> None:
    row = world.rows[key]
    line = json.loads(row.line)
    shown: dict[str, list[tuple[str, object, int]]] = {}
    for act in line["acts"]:
        for name, value in act["fields"].items():
            shown.setdefault(name, []).append((act["dot"], value, act["at_ms"]))
    meant = record.served()
    require(shown == meant, f"{key} says {shown}, its acts say {meant}")
    require(line["deleted"] is record.deleted() is row.deleted, f"{key}: deleted is wrong")
    require(set(line["conflicts"]) == record.conflicts() == set(row.conflict_fields), f"{key}: conflicts are wrong")
    require(line["position"] == row.position, f"{key}: position is wrong")
    for dot, status in record.statuses().items():
        require(world.acts[dot].status == status, f"{dot} is {world.acts[dot].status}, ought to be {status}")


def _rightly_held(act: Act, world: World) -> bool:
    """A held act misses a cause: one before it in its journal, a dot it saw, its record or the parent of that."""
    if any(f"{act.journal}:{before}" not in world.acts for before in range(1, act.seq)):
        return True  # its content, which may have been damaged, has not been looked at
    erased = world.erased.get(f"{act.journal}:{act.seq}", ())
    plain = plain_act(act.header, act.body, act.personal, act.at_ms, erased)
    if any(dot not in world.acts or world.acts[dot].status not in (*SETTLED, *RULED) for dot in plain.seen):
        return True
    if (plain.kind, plain.record) in world.rows:
        return False
    parent = PARENTS.get(plain.kind)
    return plain.delete or parent is None or (parent, plain.fields.get(parent)) not in world.rows


def ready_to_close(session: Session, now: datetime) -> set[str]:
    """Return the submitted inspections that nothing blocks, by the oracle."""
    world = look(session)
    evidence = {row.id: row for row in session.scalars(select(Evidence))}
    found = set()
    for (kind, record_id), record in world.records.items():
        if kind != "inspection" or record.value("status") != "submitted" or record.deleted():
            continue
        children = [key for key, row in world.rows.items() if row.parent == record_id]
        pictures = [key for key in children if key[0] == "evidence" and not world.records[key].deleted()]
        values = {name: record.value(name) for name in NEEDED}
        free = (
            all(values.values())
            and not any(world.records[key].conflicts() for key in [(kind, record_id), *children])
            and not world.held_on([record_id, *(key[1] for key in children)])
            and all(evidence[key[1]].status == VERIFIED for key in pictures)
            and datetime.fromisoformat(values["inspected_at"]) <= now
            and len(record.fresh_signers() & set(values["officers"])) >= 2
        )
        if free:
            found.add(record_id)
    return found


def check_behaviors(rt: Runtime) -> None:
    """Each closed inspection has become exactly one behavior, and no other one has."""
    with rt.db.read() as session:
        closed = sorted(session.scalars(select(Inspection.id).where(Inspection.closed_at.is_not(None))))
        told = sorted(name or "" for name in session.scalars(select(Behavior.inspection)))
    require(closed == told, f"closed are {closed}, behaviors tell of {told}")


def check_evidence(rt: Runtime, world: World, captured: Mapping[str, bytes]) -> None:
    """Evidence is verified only with the very bytes that were captured; `captured` is by SHA-256."""
    store = DirectoryStore(rt.settings.evidence_dir / "blobs")
    with rt.db.read() as session:
        query = select(Evidence.id, Evidence.sha256).where(Evidence.status == VERIFIED)
        verified = [(row.id, row.sha256) for row in session.execute(query)]
    for evidence, sha256 in verified:
        declared = world.records["evidence", evidence].value("sha256")
        require(sha256 == declared and sha256 in captured, f"{evidence} is verified by a hash that nobody declared")
        with store.open(str(sha256)) as stream:
            content = stream.read()
        right = content == captured[str(sha256)] and hashlib.sha256(content).hexdigest() == sha256
        require(right, f"{evidence} is verified with other bytes than were captured")


def check_proofs(rt: Runtime) -> None:
    """Everything that can be proven is proven: what `fieldproof verify` does."""
    for check in verify_everything(rt):
        require(not check.findings, f"verify: {check.name}: {check.findings}")


def check_device(rt: Runtime, world: World, device: SimDevice) -> None:
    """After everything was synced: all its acts arrived as they were written, and it shows what the server has."""
    store = device.handheld.store
    require(device.handheld.verify() == [], f"{device.name}: its journals do not verify")
    with rt.db.read() as session:
        officers = session.get_one(Device, device.handheld.device).officers
        mine = session.execute(
            select(RecordAssignee.kind, RecordAssignee.id).where(
                RecordAssignee.officer.in_(officers), RecordAssignee.active
            )
        )
        assigned = {(kind, record_id) for kind, record_id in mine}
    _check_acts(device, world)
    expected = {
        key: row.line
        for key, row in world.rows.items()
        if (row.region == "" or row.region.startswith(REGION))
        and row.department in ("", DEPARTMENT)
        and (not row.assigned or key in assigned)
    }
    served = store.db.execute("SELECT kind, id, line FROM records").fetchall()
    pulled = {(kind, record_id): line for kind, record_id, line in served}
    strange = sorted(key for key in expected.keys() | pulled.keys() if expected.get(key) != pulled.get(key))
    require(not strange, f"{device.name} shows other records than the server: {strange}")
    for kind, record_id in pulled:
        held = store.db.execute(
            "SELECT count(*) FROM acts WHERE kind = ? AND record = ? AND abandoned = 0 AND status = 'held'",
            (kind, record_id),
        ).fetchone()[0]
        if not held:
            form = device.handheld.open(kind, record_id)
            shown = {
                name: [(str(entry.dot), entry.value) for entry in entries]
                for name, entries in form.state.live_fields().items()
            }
            meant = {
                name: [(dot, value) for dot, value, _ in entries]
                for name, entries in world.records[kind, record_id].served().items()
            }
            require(shown == meant, f"{device.name} reads {kind} {record_id} as {shown}, the server as {meant}")


def same_bytes(world: World, act: Act, written: tuple[bytes, bytes, bytes]) -> bool:
    """Tell whether an act is stored as it was written, but for what was lawfully erased of it.

    One that was damaged on the way may differ in its content, as long as that is in no record.
    """
    header, body, personal = written
    parts = ActParts(act.header, act.body, act.personal)
    if act.header == header and act.status not in SETTLED and not is_whole(parts):
        return True
    if f"{act.journal}:{act.seq}" in world.erased:
        return act.header == header and act.body in (body, b"") and not act.personal
    return (act.header, act.body, act.personal) == (header, body, personal)


def _check_acts(device: SimDevice, world: World) -> None:
    rows = device.handheld.store.db.execute(
        "SELECT journal, seq, header, body, personal, status, abandoned, hash, confirmed FROM acts"
    ).fetchall()
    salts = {json.loads(row[3])["salt"] for row in rows if not row[6]}
    for journal, seq, header, body, personal, status, abandoned, digest, confirmed in rows:
        dot = f"{journal}:{seq}"
        if abandoned:
            act = world.acts.get(dot)
            there = act is not None and act.hash == digest and act.status in SETTLED
            again = there or json.loads(body)["salt"] in salts
            require(again, f"{device.name}: {dot} was abandoned and not written again")
            continue
        require(bool(confirmed), f"{device.name}: {dot} is still not confirmed")
        act = world.acts.get(dot)
        same = act is not None and same_bytes(world, act, (header, body, personal))
        require(same, f"{device.name}: {dot} is not on the server as it was written")
        known: Any = act.status if act else ""
        require(status == known, f"{device.name}: takes {dot} for {status}, it is {known}")


def check_acknowledged(receipts: Mapping[tuple[str, int], bytes], devices: Iterable[SimDevice], world: World) -> None:
    """Every act with a receipt is in the database with the bytes that some handheld wrote."""
    written = {digest: parts for device in devices for digest, parts in device.written.items()}
    acts = {(act.journal, act.seq): act for act in world.acts.values()}
    for dot, line in receipts.items():
        members, act = json.loads(line), acts[dot]
        parts = written.get(members["act"])
        same = parts is not None and same_bytes(world, act, parts)
        require(same, f"{dot} is stored with bytes that nobody wrote")
