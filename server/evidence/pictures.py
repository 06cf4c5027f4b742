"""Finding the same picture in another case: by its bytes, and by what it shows.

A perceptual hash of 64 bits is kept in four bands of 16. Hashes that differ in at most three bits agree in one band
entirely, so looking the four bands up finds all of those, and many that differ in a few bits more.
"""

from typing import cast

from sqlalchemy import Table, and_, or_, select
from sqlalchemy.orm import Session

from server.db.engine import insert_ignore
from server.evidence.flags import Flag
from server.evidence.models import Blob, Evidence, PictureBand

BANDS, BAND_BITS = 4, 16
NEAR_BITS = 6
"""Most bits in which two copies of one picture may differ; unrelated pictures differ in about 32."""
MAX_CANDIDATES = 200
MAX_SAME = 5
"""Most other records named by the flags of one."""


def remember_picture(session: Session, blob: Blob, phash: str | None) -> None:
    """Keep a picture's perceptual hash so that it is found again."""
    if phash is None:
        return
    blob.phash = phash
    rows = [{"band": band, "value": value, "sha256": blob.sha256} for band, value in enumerate(bands_of(phash))]
    insert_ignore(session, cast(Table, PictureBand.__table__), rows)


def bands_of(phash: str) -> list[int]:
    """Return the four quarters of a hash."""
    value = int(phash, 16)
    return [(value >> (BAND_BITS * band)) & 0xFFFF for band in range(BANDS)]


def bits_apart(first: str, second: str) -> int:
    """Return in how many bits two hashes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def same_pictures(session: Session, evidence: Evidence, phash: str | None) -> list[Flag]:
    """Return a flag for each record of another inspection with the same bytes, or with nearly the same picture."""
    flags = _flags(session, evidence, "same-bytes", {str(evidence.sha256): 0})
    if phash is None:
        return flags
    bands = or_(
        *(
            and_(PictureBand.band == band, PictureBand.value == value, PictureBand.sha256 != evidence.sha256)
            for band, value in enumerate(bands_of(phash))
        )
    )
    query = select(Blob.sha256, Blob.phash).where(
        Blob.sha256.in_(select(PictureBand.sha256).where(bands)), Blob.phash.is_not(None)
    )
    near = {
        sha256: bits
        for sha256, other in session.execute(query.limit(MAX_CANDIDATES))
        if (bits := bits_apart(phash, str(other))) <= NEAR_BITS
    }
    return flags + _flags(session, evidence, "same-picture", near)


def _flags(session: Session, evidence: Evidence, code: str, contents: dict[str, int]) -> list[Flag]:
    if not contents or evidence.inspection is None:
        return []
    others = select(Evidence.id, Evidence.inspection, Evidence.sha256).where(
        Evidence.sha256.in_(sorted(contents)),
        Evidence.inspection != evidence.inspection,
        Evidence.verified_at.is_not(None),
        Evidence.id != evidence.id,
    )
    found = session.execute(others.order_by(Evidence.verified_at).limit(MAX_SAME))
    return [
        Flag(code, {"evidence": other, "inspection": inspection, "bits": contents[str(sha256)]})
        for other, inspection, sha256 in found
    ]
