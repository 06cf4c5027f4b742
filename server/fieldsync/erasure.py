"""Lawful erasure: an order, approved by a second person, destroys the personal data of some records for good.

What goes are the personal parts of all acts on the records, with their salts, wherever they lie: acts, served lines,
quarantine. What stays are headers and commitments, so every chain, signature and proof still holds. The order becomes a
leaf of the proof log, travels to the handhelds that wrote such acts, and stands in a ledger outside the database.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, exists, or_, select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.behaviors.models import Behavior
from server.behaviors.service import erase_personal
from server.clock import from_ms, to_ms
from server.db.engine import IN_LIST_LIMIT
from server.db.shredding import overwrite_what_is_deleted, shred
from server.devices.models import Device
from server.errors import Problem
from server.evidence.retention import destroy_again, erase_evidence
from server.fieldsync import erasure_ledger
from server.fieldsync.conflicts import given_reason
from server.fieldsync.erased import field_names, may_hold, notify, personal_of
from server.fieldsync.history import read_act
from server.fieldsync.models import ActRuling, ErasedAct, ErasedRecord, ErasureNotice, ErasureOrder
from server.prooflog.service import enqueue
from server.records.batch import SETTLED, RecordBatch
from server.records.held import Key
from server.records.models import Act, SyncedRecord
from server.records.service import server_state
from server.runtime import Runtime
from server.web.principal import Principal, require_scope
from sync.acts import encode
from sync.dots import Dot, parse_dot
from sync.registers import Live, RecordState, from_live

MAX_RECORDS = 200
"""Records of one order."""
MAX_BASIS_CHARS = 200
SHREDDED = ("act", "synced_record", "behavior")
"""Tables that personal data is erased from."""
SNAPSHOTS = (".gz", ".packing", ".part")
"""Files that may hold what was erased, unfinished ones too: they are made anew when somebody asks."""
_CHANGED_SINCE = exists().where(
    SyncedRecord.kind == ErasureNotice.kind,
    SyncedRecord.id == ErasureNotice.record,
    SyncedRecord.position > bindparam("after"),
    bindparam("after", type_=BigInteger) > 0,
)
_NOTICES = (
    select(ErasureNotice.kind, ErasureNotice.record)
    .where(
        ErasureNotice.device == bindparam("device"),
        or_(ErasureNotice.acknowledged_at.is_(None), _CHANGED_SINCE),
    )
    .order_by(ErasureNotice.kind, ErasureNotice.record)
    .limit(MAX_RECORDS)
)
"""Made once: it is asked at each pull."""
ACT = "act"
"""Kind in a notice that names one act by its dot."""
BEHAVIOR = "behavior"
"""Behaviors of citizens are erased by the same orders as records; they are no kind that handhelds know."""
PROBLEM_MEMBERS = ("type", "title", "status", "code", "field")
"""What stays of a quarantined act's problem: its detail may quote what was wrong."""


def order_erasure(
    session: Session, rt: Runtime, caller: Principal, records: Sequence[Key], basis: str, reason: str
) -> ErasureOrder:
    """Ask for the erasure of the personal data of some records; nothing happens until another person approves it.

    Raises:
        Problem: `not-found` for a record outside the caller's scope; `invalid-field` without basis, reason or records;
            `limit-exceeded` for too many.
    """
    if not basis.strip() or len(basis) > MAX_BASIS_CHARS:
        raise Problem("invalid-field", field="basis", detail="the legal basis is needed", limit=MAX_BASIS_CHARS)
    if len(records) > MAX_RECORDS:
        raise Problem("limit-exceeded", field="records", detail="too many records", limit=MAX_RECORDS)
    if not records:
        raise Problem("invalid-field", field="records", detail="at least one record is needed")
    keys = sorted(set(records))
    places = [place for key in keys for place in _places_of(session, key)]
    for region, department in places:
        require_scope(caller, region, department)
    order = ErasureOrder(
        id=rt.new_id(), region=places[0][0], department=places[0][1], basis=basis.strip(),
        reason=given_reason(reason), records=[list(key) for key in keys], status="requested",
        requested_by=caller.subject, requested_at=rt.now(), acts=0,
    )  # fmt: skip
    session.add(order)
    session.flush()
    record_event(session, rt, caller.subject, "erasure.request", "erasure", order.id, {"basis": order.basis})
    return order


def _places_of(session: Session, key: Key) -> list[tuple[str, str]]:
    """Return region and department of a record or a behavior; of devices whose acts name one that there never was."""
    table = Behavior if key[0] == BEHAVIOR else SyncedRecord
    wanted = (
        (Behavior.id == key[1],) if key[0] == BEHAVIOR else (SyncedRecord.kind == key[0], SyncedRecord.id == key[1])
    )
    found = session.execute(select(table.region, table.department).where(*wanted).limit(1)).all()
    if not found:
        named = (Act.device == Device.id, Act.kind == key[0], Act.record == key[1])
        query = select(Device.region, Device.department).where(*named).distinct()
        found = session.execute(query.order_by(Device.region, Device.department)).all()
    if not found:
        raise Problem("not-found", field="records", detail="no record with this kind and id, and no act that names it")
    return [(region, department) for region, department in found]


def decide_order(session: Session, rt: Runtime, caller: Principal, order_id: str, *, approve: bool) -> ErasureOrder:
    """Approve or refuse an order, as a second person. The worker executes what was approved.

    Raises:
        Problem: `not-found`; `illegal-transition` for an order that is decided; `forbidden` for one's own order.
    """
    order = find_order(session, caller, order_id, lock=True)
    if order.status != "requested":
        raise Problem("illegal-transition", detail=f"this order is {order.status}", legal=[])
    if approve and order.requested_by == caller.subject:
        raise Problem("forbidden", detail="an order is approved by another person than who asked for it")
    order.status = "approved" if approve else "refused"
    order.decided_by, order.decided_at = caller.subject, rt.now()
    record_event(session, rt, caller.subject, f"erasure.{'approve' if approve else 'refuse'}", "erasure", order.id)
    return order


def find_order(session: Session, caller: Principal, order_id: str, *, lock: bool = False) -> ErasureOrder:
    """Return an order of the caller's scope.

    Raises:
        Problem: `not-found`.
    """
    order = session.get(ErasureOrder, order_id, with_for_update=lock or None)
    if order is None:
        raise Problem("not-found", detail="no order with this id")
    require_scope(caller, order.region, order.department)
    return order


def list_orders(session: Session, caller: Principal, *, after: str, limit: int) -> list[ErasureOrder]:
    """Return the orders of the caller's scope, oldest first."""
    query = select(ErasureOrder).where(
        ErasureOrder.region.startswith(caller.region, autoescape=True), ErasureOrder.id > after
    )
    if caller.department:
        query = query.where(ErasureOrder.department == caller.department)
    return list(session.execute(query.order_by(ErasureOrder.id).limit(limit)).scalars())


def waiting_devices(session: Session, order_id: str) -> list[str]:
    """Return the devices that have not yet said that they have destroyed theirs."""
    query = select(ErasureNotice.device).where(ErasureNotice.order == order_id, ErasureNotice.acknowledged_at.is_(None))
    return sorted(set(session.execute(query).scalars()))


def acknowledge(session: Session, rt: Runtime, caller: Principal, records: Sequence[Key]) -> int:
    """Note that a device has destroyed the personal parts of its acts on some records; returns how many it had to."""
    count = 0
    for key in records:
        notice = session.get(ErasureNotice, (caller.subject, *key))
        if notice is not None and notice.acknowledged_at is None:
            notice.acknowledged_at = rt.now()
            count += 1
            detail = {"order": notice.order}
            record_event(session, rt, caller.subject, "erasure.acknowledge", key[0], key[1], detail)
    return count


def erase_lines(session: Session, device: str, position: int, after: int) -> list[tuple[int, bytes]]:
    """Return the lines of a device's feed that tell it to erase, each until it is acknowledged.

    What is acknowledged is told again to a device that stands, at `after`, before the record's newest change; one that
    begins at 0 has nothing.
    """
    rows = session.connection().execute(_NOTICES, {"device": device, "after": after})
    return [(position, encode({"kind": kind, "id": key, "position": position, "erase": True})) for kind, key in rows]


def erase(rt: Runtime) -> int:
    """Worker step: execute one approved order, and see that its bytes really go; returns how many orders it moved."""
    with rt.db.write() as session:
        executed = execute_approved(session, rt)
    with rt.db.read() as session:
        unfinished = _unshredded(session)
    if not unfinished:
        return executed
    shred(rt.db, *SHREDDED)
    for suffix in SNAPSHOTS:
        for path in (rt.settings.home / "snapshots").glob(f"*{suffix}"):
            path.unlink(missing_ok=True)
    with rt.db.write() as session:
        for order_id in unfinished:
            session.get_one(ErasureOrder, order_id).shredded_at = rt.now()
    return len(unfinished)


def _unshredded(session: Session) -> list[str]:
    query = select(ErasureOrder.id).where(ErasureOrder.status == "executed", ErasureOrder.shredded_at.is_(None))
    return list(session.execute(query).scalars())


def execute_approved(session: Session, rt: Runtime) -> int:
    """Execute one approved order, in the caller's transaction; returns how many were."""
    query = select(ErasureOrder).where(ErasureOrder.status == "approved").order_by(ErasureOrder.id).limit(1)
    order = session.execute(query.with_for_update(skip_locked=True)).scalar_one_or_none()
    if order is None:
        return 0
    _execute(session, rt, order, rt.now(), {})
    return 1


def replay_ledger(session: Session, rt: Runtime) -> int:
    """Execute again what a restored backup does not know, or knows as unerased; returns how many orders were.

    Raises:
        ValueError: the ledger was changed.
    """
    replayed = 0
    destroy_again(session)
    for entry in erasure_ledger.read(rt.settings.erasure_ledger):
        order = session.get(ErasureOrder, entry["order"])
        if order is not None and order.status == "executed":
            continue
        if order is None:
            order = ErasureOrder(id=entry["order"], acts=0, requested_at=from_ms(entry["requested_ms"]))
            session.add(order)
        for name in ("region", "department", "basis", "reason", "records", "requested_by", "decided_by"):
            setattr(order, name, entry[name])
        order.status, order.decided_at = "approved", from_ms(entry["decided_ms"])
        session.flush()
        _execute(session, rt, order, from_ms(entry["executed_ms"]), entry["acts"])
        replayed += 1
    return replayed


def _execute(session: Session, rt: Runtime, order: ErasureOrder, at: datetime, known: Mapping[str, list[str]]) -> None:
    """Destroy, in one transaction; `known` are the acts that the ledger names, which may not be here (again) yet."""
    overwrite_what_is_deleted(session)
    keys: list[Key] = [(kind, record) for kind, record in order.records]
    batch = RecordBatch(session, rt)
    batch.load(keys)
    erased: dict[Dot, list[str]] = {parse_dot(dot): names for dot, names in known.items()}
    versions = sum(erase_personal(session, key[1], order.id) for key in keys if key[0] == BEHAVIOR)
    for key in keys:
        erased |= _erase_acts(session, key, order.id)
        session.merge(ErasedRecord(kind=key[0], record=key[1], order=order.id))
        if key[0] == "evidence":
            erase_evidence(session, rt, key[1], order=order.id)
        if key in batch.records:
            batch.rewrite(key, _without_personal(key[0], batch.records[key].state))
    for dot, names in erased.items():
        session.merge(ErasedAct(journal=dot.journal, seq=dot.seq, order=order.id, fields=names))
    order.status, order.executed_at, order.acts = "executed", at, len(erased) + versions
    session.flush()
    server_state(session).erasures += len(keys)
    batch.take_positions()
    batch.flush()
    acts = {str(dot): names for dot, names in sorted(erased.items())}
    enqueue(session, rt, "erasure", order.id, _leaf(order, acts, to_ms(at)))
    record_event(session, rt, SYSTEM, "erasure.execute", "erasure", order.id, {"acts": len(erased)})
    session.flush()
    erasure_ledger.append(rt.settings.erasure_ledger, _entry(order, acts, to_ms(at)))


def _erase_acts(session: Session, key: Key, order: str) -> dict[Dot, list[str]]:
    """Destroy the personal data of all acts on a record, whatever became of them; returns what each had set."""
    erased: dict[Dot, list[str]] = {}
    told: set[tuple[str, Key]] = set()
    query = select(Act).where(Act.kind == key[0], Act.record == key[1])
    own = list(session.execute(query.order_by(Act.journal, Act.seq).with_for_update()).scalars())
    for act in (*own, *_mended_into(session, key, own)):
        private, names_it = personal_of(act.kind) | personal_of(key[0]), (act.kind, act.record)
        names = field_names(act.personal) or []
        misplaced = act.status not in SETTLED and may_hold(act.body, private)
        if not act.personal and not misplaced:
            continue
        act.personal = b""
        if misplaced:
            names = sorted({*names, *(private & read_act(act)["fields"].keys())})
            act.body = b""
        if act.problem:
            act.problem = {name: value for name, value in act.problem.items() if name in PROBLEM_MEMBERS}
        erased[Dot(act.journal, act.seq)] = names
        if act.device:  # what else it wrote to a record that it named by mistake is not to go
            alone = names_it != key and session.get(SyncedRecord, names_it) is not None
            told.add((act.device, (ACT, f"{act.journal}:{act.seq}") if alone else names_it))
    session.flush()
    for device, named in sorted(told):
        notify(session, device, named, order)
    return erased


def _mended_into(session: Session, key: Key, own: Sequence[Act]) -> list[Act]:
    """Acts that named another record by mistake, and were mended into this one by acts of the office."""
    dots = [f"{act.journal}:{act.seq}" for act in own if act.device is None]
    found: list[Act] = []
    for start in range(0, len(dots), IN_LIST_LIMIT):
        same = (ActRuling.journal == Act.journal) & (ActRuling.seq == Act.seq)
        query = select(Act).join(ActRuling, same).where(ActRuling.mended_by.in_(dots[start : start + IN_LIST_LIMIT]))
        rows = session.execute(query.order_by(Act.journal, Act.seq).with_for_update(of=Act)).scalars()
        found += [act for act in rows if (act.kind, act.record) != key]
    return found


def _without_personal(kind: str, state: RecordState) -> RecordState:
    private = personal_of(kind)
    return from_live(
        {
            name: [Live(entry.dot, None if name in private else entry.value, entry.at_ms) for entry in values]
            for name, values in state.live_fields().items()
        }
    )


def _leaf(order: ErasureOrder, acts: Mapping[str, Sequence[str]], at_ms: int) -> bytes:
    """What the proof log holds of an order: which one, when, and a commitment to the acts."""
    named = hashlib.sha256("\n".join(sorted(acts)).encode()).hexdigest()
    return encode({"order": order.id, "at_ms": at_ms, "count": len(acts), "acts": named})


def _entry(order: ErasureOrder, acts: Mapping[str, Sequence[str]], at_ms: int) -> dict[str, Any]:
    return {
        "order": order.id,
        "region": order.region,
        "department": order.department,
        "basis": order.basis,
        "reason": order.reason,
        "records": order.records,
        "requested_by": order.requested_by,
        "requested_ms": to_ms(order.requested_at),
        "decided_by": order.decided_by,
        "decided_ms": to_ms(order.decided_at) if order.decided_at else 0,
        "executed_ms": at_ms,
        "acts": dict(acts),
    }
