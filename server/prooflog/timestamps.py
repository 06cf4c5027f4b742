"""Time stamps of tree heads by an authority outside (RFC 3161): that these leaves existed by then, whoever runs us.

What is stamped is the SHA-256 of a checkpoint's body, the same bytes that the log's key signs. An answer is kept only
after it verified against the configured roots, so that what is stored convinces others who trust them.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.config import TimestampSettings
from server.prooflog.models import Head, Timestamp
from server.prooflog.service import checkpoint_of, latest_head
from server.runtime import Runtime
from sync.checkpoints import Checkpoint

log = logging.getLogger(__name__)
TIMEOUT_S = 10.0
"""Longest wait for the authority."""
RETRY_S = 60
"""Pause after an authority that did not answer, or answered wrongly."""
MAX_ANSWER_BYTES = 64 * 1024
MEDIA_TYPE_QUERY = "application/timestamp-query"
MEDIA_TYPE_REPLY = "application/timestamp-reply"


class StampRefused(Exception):
    """The authority's answer is missing, malformed, or does not prove what was asked."""


class HeadStamper:
    """The worker's step: has the newest head stamped as often as configured; remembers when to try again."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        """Take another transport in tests."""
        self._transport = transport
        self._not_before: datetime | None = None

    def __call__(self, rt: Runtime) -> int:
        """Stamp the newest head if it is time; returns how many were stamped (0 or 1).

        The authority is asked outside any transaction; a failure is logged and tried again later, and stops nothing.
        """
        settings = rt.settings.timestamps
        if settings is None or (self._not_before is not None and rt.now() < self._not_before):
            return 0
        with rt.db.read() as session:
            due = _due(session, rt, settings)
        if due is None:
            return 0
        try:
            answer, stamped_at = request_stamp(settings, due.body(), self._transport)
        except StampRefused as error:
            log.warning("no time stamp for head %d from %s: %s", due.size, settings.url, error)
            self._not_before = rt.now() + timedelta(seconds=RETRY_S)
            return 0
        with rt.db.write() as session:
            if session.get(Timestamp, due.size) is None:  # else another worker was faster
                session.add(Timestamp(size=due.size, stamped_at=stamped_at, authority=settings.url, answer=answer))
        return 1


def _due(session: Session, rt: Runtime, settings: TimestampSettings) -> Checkpoint | None:
    """Return the newest head if it has no stamp and the last stamp is old enough."""
    head = latest_head(session)
    if head is None:
        return None
    last = session.execute(select(Timestamp).order_by(Timestamp.size.desc()).limit(1)).scalar_one_or_none()
    if last is not None:
        early = rt.now() - last.stamped_at < timedelta(seconds=settings.every_s)
        if early or last.size == head.size:
            return None
    return checkpoint_of(session, head)[0]


def request_stamp(
    settings: TimestampSettings, message: bytes, transport: httpx.BaseTransport | None = None
) -> tuple[bytes, datetime]:
    """Ask the authority for a stamp over `message` and verify it.

    Returns:
        The answer (DER of a TimeStampResp) and the time it states.

    Raises:
        StampRefused: no answer within :data:`TIMEOUT_S`, or one that does not verify.
    """
    request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"Content-Type": MEDIA_TYPE_QUERY, "Accept": MEDIA_TYPE_REPLY}
    try:
        with httpx.Client(transport=transport, timeout=TIMEOUT_S) as client:
            reply = client.post(settings.url, content=request.as_bytes(), headers=headers)
    except httpx.HTTPError as error:
        raise StampRefused(f"{type(error).__name__}: {error}") from error
    if reply.status_code != httpx.codes.OK or len(reply.content) > MAX_ANSWER_BYTES:
        raise StampRefused(f"answered {reply.status_code} with {len(reply.content)} bytes")
    response = _decode(reply.content)
    _verify(response, message, load_roots(settings.roots), nonce=request.nonce)
    return reply.content, response.tst_info.gen_time


def verify_stamp(answer: bytes, message: bytes, roots: Sequence[Certificate]) -> datetime:
    """Check a stored answer against the message and the trusted roots; returns the time it states.

    Raises:
        StampRefused: it does not prove that the message existed then.
    """
    response = _decode(answer)
    _verify(response, message, roots, nonce=None)
    return response.tst_info.gen_time


def load_roots(path: Path) -> list[Certificate]:
    """Read the trusted root certificates (PEM).

    Raises:
        StampRefused: the file is missing or holds none.
    """
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StampRefused(f"{path}: {error}") from error


def verify_timestamps(session: Session, rt: Runtime) -> tuple[int, list[str]]:
    """Check every stored stamp against its head.

    Returns:
        How many there are, and one sentence for each that does not verify.
    """
    settings = rt.settings.timestamps
    rows = session.execute(select(Timestamp, Head).join(Head, Head.size == Timestamp.size).order_by(Head.size)).all()
    count = session.execute(select(func.count()).select_from(Timestamp)).scalar_one()
    findings = [] if len(rows) == count else [f"{count - len(rows)} time stamps belong to no head"]
    if rows and settings is None:
        return count, [*findings, f"{len(rows)} time stamps cannot be checked: FIELDPROOF_TIMESTAMP_ROOTS is not set"]
    roots = load_roots(settings.roots) if rows and settings is not None else []
    for stamp, head in rows:
        try:
            stated = verify_stamp(stamp.answer, checkpoint_of(session, head)[0].body(), roots)
        except StampRefused as error:
            findings.append(f"time stamp of head {head.size}: {error}")
            continue
        if stated != stamp.stamped_at:
            findings.append(f"time stamp of head {head.size}: the stored time is not the stamped one")
    return count, findings


def first_stamp(session: Session, size: int) -> Timestamp | None:
    """Return the earliest stamp of a head that covers the first `size` leaves."""
    query = select(Timestamp).where(Timestamp.size >= size).order_by(Timestamp.size).limit(1)
    return session.execute(query).scalar_one_or_none()


def _decode(answer: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(answer)
    except ValueError as error:
        raise StampRefused(f"not an answer: {error}") from error


def _verify(response: TimeStampResponse, message: bytes, roots: Sequence[Certificate], *, nonce: int | None) -> None:
    builder = VerifierBuilder(roots=list(roots), nonce=nonce)
    try:
        builder.build().verify(response, hashlib.sha256(message).digest())
    except (VerificationError, ValueError) as error:
        raise StampRefused(str(error)) from error
