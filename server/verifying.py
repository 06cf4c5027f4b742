"""Checking everything that can be proven: journal chains, merged records against their acts, custody, the proof log."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from server.devices.keys import vouches
from server.devices.models import Device, FormerKey
from server.evidence.models import Evidence
from server.evidence.service import custody
from server.exchange.verify import verify_behaviors
from server.fieldsync.erased import erased_fields
from server.fieldsync.models import ErasedAct, ErasureOrder, Journal, SegmentSignature
from server.fieldsync.scrub import damaged, repair
from server.prooflog.service import is_enqueued
from server.prooflog.timestamps import verify_timestamps
from server.prooflog.verify import verify_log
from server.prooflog.witnesses import verify_cosignatures
from server.records.batch import SETTLED
from server.records.models import Act, SyncedRecord
from server.runtime import Runtime
from server.web.body import parse_json
from sync.acts import ActParts, check_commitments, parse_header
from sync.dots import Dot
from sync.journal import Break, chain_breaks

CHUNK = 1_000
"""Rows read at a time: memory stays bounded on any database."""
MAX_FINDINGS = 1_000


@dataclass
class Check:
    """One kind of check: how much was looked at, and what is wrong, by name."""

    name: str
    checked: int = 0
    findings: list[str] = field(default_factory=list)

    def found(self, finding: str) -> None:
        """Note something wrong; past the limit only the first are kept."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)


def verify_everything(rt: Runtime) -> list[Check]:
    """Check the whole database in one consistent snapshot; nothing is changed."""
    with rt.db.read() as session:
        leaves, log_findings = verify_log(session, rt)
        stamps, stamp_findings = verify_timestamps(session, rt)
        cosigned, cosigned_findings = verify_cosignatures(session, rt)
        behaviors, behavior_findings = verify_behaviors(session)
        return [
            check_journals(session),
            check_signatures(session),
            check_records(session),
            check_erasures(session),
            check_custody(session),
            Check("证明日志 proof log", leaves, list(log_findings)),
            Check("时间戳与见证 time stamps, witnesses", stamps + cosigned, stamp_findings + cosigned_findings),
            Check("监管行为 behaviors", behaviors, list(behavior_findings)),
        ]


def check_journals(session: Session) -> Check:
    """Every journal is dense and chained up to its head, and every act is what its header commits to."""
    check = Check("日志链 journal chains")
    for journal in session.execute(select(Journal).order_by(Journal.id)).scalars():
        prev, seq = "", 1
        for acts in _chunks_of(session, journal):
            parts = [ActParts(act.header, act.body, act.personal) for act in acts]
            emptied = {act.seq for act in acts if not act.body}  # lawfully: check_erasures looks at those
            for broken in chain_breaks(parts, parse_json, journal=journal.id, first=seq, prev=prev):
                if broken.seq not in emptied and not _came_so(acts, broken):
                    check.found(f"{journal.id}:{broken.seq}: {broken.reason}")
            erased = erased_fields(session, acts)
            for act, part in zip(acts, parts, strict=True):
                _check_act(check, act, part, erased=Dot(act.journal, act.seq) in erased)
            prev, seq = parts[-1].hash(), seq + len(parts)
            check.checked += len(parts)
        if seq - 1 != journal.head_seq or prev != journal.head_hash:
            check.found(f"{journal.id}: ends at {seq - 1}, its head says {journal.head_seq}")
    return check


def _came_so(acts: list[Act], broken: Break) -> bool:
    """Tell whether a fault is the one for which an act was quarantined, at once or when a gap before it was filled.

    Its bytes are kept as they came; they are in no record.
    """
    act = next((act for act in acts if act.seq == broken.seq), None)
    if act is None or act.status in SETTLED or not act.problem:
        return False
    return str(act.problem.get("field", "")) == broken.reason.partition(":")[0]


def _chunks_of(session: Session, journal: Journal) -> Iterator[list[Act]]:
    after = 0
    while True:
        query = select(Act).where(Act.journal == journal.id, Act.seq > after, Act.seq <= journal.head_seq)
        acts = list(session.execute(query.order_by(Act.seq).limit(CHUNK)).scalars())
        if not acts:
            return
        yield acts
        after = acts[-1].seq
        session.expunge_all()


def _check_act(check: Check, act: Act, parts: ActParts, *, erased: bool) -> None:
    if act.hash != parts.hash():
        check.found(f"{act.journal}:{act.seq}: the stored hash is not the act's")
    if act.status in SETTLED:
        try:
            check_commitments(parse_header(parse_json(parts.header)), parts, erasable=erased)
        except ValueError as error:
            check.found(f"{act.journal}:{act.seq}: {error}")


def check_signatures(session: Session) -> Check:
    """Every pushed segment carries its device's signature over the head that is stored."""
    check = Check("段签名 segment signatures")
    keys = _keys_in_order(session)
    owners = {journal.id: journal.device for journal in session.execute(select(Journal)).scalars()}
    hashes = select(SegmentSignature, Act.hash).join(
        Act, (Act.journal == SegmentSignature.journal) & (Act.seq == SegmentSignature.last)
    )
    for segment, act_hash in session.execute(hashes.order_by(SegmentSignature.journal, SegmentSignature.last)):
        check.checked += 1
        signer = next((key for key in keys[owners[segment.journal]] if _signed(key.public_key, segment)), None)
        if signer is None:
            check.found(f"{segment.journal}:{segment.last}: the signature does not verify")
        elif not _was_valid(signer, segment, act_hash):
            check.found(f"{segment.journal}:{segment.last}: signed with a key that had been replaced")
        if act_hash not in segment.statement:
            check.found(f"{segment.journal}:{segment.last}: the signed head is not the stored act")
    return check


def _keys_in_order(session: Session) -> dict[str, list[Device | FormerKey]]:
    """Return the keys of each device, the present one first."""
    keys: dict[str, list[Device | FormerKey]] = {
        device.id: [device] for device in session.execute(select(Device)).scalars()
    }
    for former in session.execute(select(FormerKey).order_by(FormerKey.number.desc())).scalars():
        keys[former.device].append(former)
    return keys


def _signed(public_key: bytes, segment: SegmentSignature) -> bool:
    signature = base64.urlsafe_b64decode(segment.signature + "=" * (-len(segment.signature) % 4))
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, segment.statement.encode())
    except InvalidSignature:
        return False
    return True


def _was_valid(key: Device | FormerKey, segment: SegmentSignature, act_hash: str) -> bool:
    """Tell whether a key was its device's when it signed: received before the change, or named in its statement."""
    if isinstance(key, Device) or segment.received_at <= key.replaced_at:
        return True
    return any(vouches(named, segment.journal, segment.last, act_hash) for named in key.heads)


def check_records(session: Session) -> Check:
    """Every merged record is exactly what its acts amount to, byte for byte."""
    check = Check("合并记录 merged records")
    after = 0
    while True:
        query = select(SyncedRecord).where(SyncedRecord.position > after).order_by(SyncedRecord.position)
        rows = list(session.execute(query.limit(CHUNK)).scalars())
        if not rows:
            return check
        for kind, record_id in damaged(session, rows):
            check.found(f"{kind} {record_id}: the stored record is not what its acts amount to")
        check.checked += len(rows)
        after = rows[-1].position
        session.expunge_all()


def repair_records(rt: Runtime) -> int:
    """Write every damaged record anew from its acts, a chunk at a time; returns how many were."""
    after, repaired = ("", ""), 0
    place = tuple_(SyncedRecord.kind, SyncedRecord.id)  # an id may stand in several kinds
    while True:
        with rt.db.write() as session:
            query = select(SyncedRecord.kind, SyncedRecord.id).where(place > after)
            found = session.execute(query.order_by(SyncedRecord.kind, SyncedRecord.id).limit(CHUNK)).all()
            repaired += len(repair(session, rt, [(kind, record_id) for kind, record_id in found]))
        if not found:
            return repaired
        after = (found[-1].kind, found[-1].id)


def check_erasures(session: Session) -> Check:
    """What was erased is gone from acts and records, only by an order, and every order is in the proof log."""
    check = Check("依法删除 lawful erasures")
    orders = {order.id: order for order in session.execute(select(ErasureOrder)).scalars() if order.executed_at}
    for order_id in orders:
        if not is_enqueued(session, "erasure", order_id):
            check.found(f"order {order_id}: the proof log does not hold it")
    same = (Act.journal == ErasedAct.journal) & (Act.seq == ErasedAct.seq)
    query = select(ErasedAct, Act.personal).outerjoin(Act, same)
    for noted, personal in session.execute(query.order_by(ErasedAct.journal, ErasedAct.seq)):
        check.checked += 1
        if noted.order not in orders:
            check.found(f"{noted.journal}:{noted.seq}: was erased without an order")
        if personal:
            check.found(f"{noted.journal}:{noted.seq}: its personal part is still there, although it was erased")
    known = select(ErasedAct.seq).where(ErasedAct.journal == Act.journal, ErasedAct.seq == Act.seq).exists()
    for journal, seq in session.execute(select(Act.journal, Act.seq).where(func.length(Act.body) == 0, ~known)):
        check.found(f"{journal}:{seq}: has no body, and nothing says that it was erased")
    return check


def check_custody(session: Session) -> Check:
    """Every custody chain is whole."""
    check = Check("证据保管链 custody chains")
    for evidence in session.execute(select(Evidence).order_by(Evidence.id)).scalars():
        entries, faults = custody(session, evidence)
        check.checked += len(entries)
        for fault in faults:
            check.found(f"{evidence.id}:{fault.seq}: {fault.reason}")
    return check
