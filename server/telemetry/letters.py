"""Dead letters: everything received that is no stored reading, kept once with its reason."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from schemas.telemetry import MESSAGE_LIMIT_BYTES, Message, Reading, Refusal, payload_identity, reading_identity
from server.db.engine import IN_LIST_LIMIT
from server.runtime import Runtime
from server.telemetry.models import DETAIL_CHARS, TOPIC_CHARS, DeadLetter

PAYLOAD_KEPT_BYTES = 4 * MESSAGE_LIMIT_BYTES
"""What is kept of a payload. What can be read at all is far below; of what is larger the detail says how large."""
CONTRADICTION = "contradiction"
"""Reason of a letter about a value for which another one is stored."""
RATE_LIMITED = "rate-limited"
"""Reason of the letter that stands for what a sensor sent beyond its allowance."""
OPEN, REQUESTED, REPLAYED = "open", "requested", "replayed"


@dataclass(frozen=True, slots=True)
class Letter:
    """A refusal together with the delivery it came from."""

    refusal: Refusal
    topic: str
    sensor: str
    seq: int | None
    received_at: datetime
    whole: bool


@dataclass(slots=True)
class Excess:
    """Messages of one topic that were refused together, unread: the first of them, and their number."""

    topic: str
    sensor: str
    payload: bytes
    received_at: datetime
    detail: str
    messages: int = 1


def letter(message: Message, refusal: Refusal, *, seq: int | None = None) -> Letter:
    """Return the letter of a refusal within a message; a refusal of all its bytes is a letter of the whole message."""
    whole = refusal.payload == message.payload
    return Letter(refusal, message.topic, message.sensor, seq or message.seq, message.received_at, whole)


def whole_letter(message: Message, reason: str, detail: str = "") -> Letter:
    """Return the letter that refuses a whole message, standing for every reading in it."""
    count = len(message.readings) + sum(refusal.readings for refusal in message.refusals)
    identity = payload_identity(message.topic, message.payload)
    return letter(message, Refusal(reason, detail, message.payload, identity, max(1, count)))


def refuse_reading(sensor: str, reading: Reading, reason: str, detail: str) -> Refusal:
    """Return the refusal of an understood reading, in the form in which a sensor would send it."""
    time = reading.at.isoformat()
    said = {
        "time": time,
        "factor": reading.factor,
        "value": reading.value,
        "unit": reading.unit,
        "flag": reading.flag,
        "kind": reading.kind,
    }
    payload = json.dumps(said, separators=(",", ":")).encode()
    return Refusal(reason, detail, payload, reading_identity(sensor, said), factor=reading.factor, time=time)


def keep_letters(session: Session, rt: Runtime, letters: Sequence[Letter]) -> tuple[int, int]:
    """Store letters not stored yet.

    Returns:
        For how many readings the new ones stand, and for how many the ones that were there already.

    Raises:
        sqlalchemy.exc.IntegrityError: another ingester stored one of them meanwhile; run the transaction again.
    """
    known: set[str] = set()
    identities = sorted({item.refusal.identity for item in letters})
    for start in range(0, len(identities), IN_LIST_LIMIT):
        chunk = identities[start : start + IN_LIST_LIMIT]
        known.update(session.scalars(select(DeadLetter.identity).where(DeadLetter.identity.in_(chunk))))
    rows: list[dict[str, Any]] = []
    kept = repeated = 0
    for item in letters:
        if item.refusal.identity in known:
            repeated += item.refusal.readings
            continue
        known.add(item.refusal.identity)
        kept += item.refusal.readings
        rows.append(_row(rt, item))
    if rows:
        session.execute(insert(DeadLetter), rows)
    return kept, repeated


def keep_excess(session: Session, rt: Runtime, excess: Sequence[Excess]) -> int:
    """Keep what was refused unread: one letter for each topic and minute, which counts on; return how many messages.

    Raises:
        sqlalchemy.exc.IntegrityError: another ingester began the same letter meanwhile; run the transaction again.
    """
    for item in sorted(excess, key=lambda item: item.topic):
        minute = item.received_at.replace(second=0, microsecond=0).isoformat()
        identity = hashlib.sha256(f"{RATE_LIMITED}\n{item.topic}\n{minute}".encode()).hexdigest()
        counted = update(DeadLetter).where(DeadLetter.identity == identity)
        changed = session.connection().execute(counted.values(readings=DeadLetter.readings + item.messages))
        if not changed.rowcount:
            refusal = Refusal(RATE_LIMITED, item.detail, item.payload, identity, item.messages)
            first = Letter(refusal, item.topic, item.sensor, None, item.received_at, whole=True)
            session.execute(insert(DeadLetter), [_row(rt, first)])
    return sum(item.messages for item in excess)


def void_letters(session: Session, identities: Collection[str]) -> int:
    """Take back the contradictions of values that stand after all, since a repetition of them came first.

    Which of several deliveries arrives first must not show in what is kept. Returns for how many readings they stood.
    """
    void = 0
    ordered = sorted(identities)
    for start in range(0, len(ordered), IN_LIST_LIMIT):
        chunk = DeadLetter.identity.in_(ordered[start : start + IN_LIST_LIMIT])
        gone = (chunk, DeadLetter.reason == CONTRADICTION)
        void += session.scalar(select(func.coalesce(func.sum(DeadLetter.readings), 0)).where(*gone)) or 0
        session.execute(delete(DeadLetter).where(*gone))
    return void


def _row(rt: Runtime, item: Letter) -> dict[str, Any]:
    refusal = item.refusal
    return {
        "id": rt.new_id(),
        "identity": refusal.identity,
        "received_at": item.received_at,
        "topic": _text(item.topic, TOPIC_CHARS),
        "sensor_id": item.sensor,
        "seq": item.seq,
        "reason": refusal.reason,
        "detail": _text(refusal.detail, DETAIL_CHARS),
        "factor": _text(refusal.factor, 64),
        "time": _text(refusal.time, 64),
        "readings": refusal.readings,
        "whole": item.whole,
        "payload": refusal.payload[:PAYLOAD_KEPT_BYTES],
        "status": OPEN,
        "replayed_at": None,
    }


def _text(text: str, limit_chars: int) -> str:
    """Cut to the column, and take out what PostgreSQL cannot store; the payload keeps the bytes."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:limit_chars]
