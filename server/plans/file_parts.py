"""The published file of a batch in the database: kept and read piece by piece, so that no line needs the whole."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.inspections.draw_file import SECTIONS, Roster
from server.plans.models import DrawFilePart, OfficerSubstitution

PART_BYTES = 1024 * 1024
"""About how much of the file one row holds, before compression."""
LEVEL = 1
"""zlib's quickest: the ids are random and shrink little further."""
ANNOUNCED_SECTIONS = SECTIONS[:3]
"""What is fixed before the draw."""


def keep(session: Session, batch: str, pieces: Iterable[tuple[str, bytes]]) -> None:
    """Keep pieces of the file, each whole lines of one section, in their order."""
    numbers: dict[str, int] = {}
    for name, data in pieces:
        for lines in _cut(data):
            number = numbers[name] = numbers.get(name, -1) + 1
            first = lines[:36].split(b"\t")[0].split(b"\n")[0].decode(errors="replace")
            part = DrawFilePart(
                batch=batch, section=SECTIONS.index(name), number=number, first=first[:36],
                data=zlib.compress(lines, LEVEL),
            )  # fmt: skip
            session.add(part)
    session.flush()


def _cut(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + PART_BYTES) + 1 or len(data)
        yield data[start:end]
        start = end


def section(session: Session, batch: str, name: str) -> bytes:
    """Return a section of a batch's file."""
    query = select(DrawFilePart.data).where(DrawFilePart.batch == batch, DrawFilePart.section == SECTIONS.index(name))
    return b"".join(map(zlib.decompress, session.execute(query.order_by(DrawFilePart.number)).scalars()))


def roster(session: Session, batch: str, name: str) -> Roster:
    """Return an announced roster."""
    return Roster(section(session, batch, name))


def whole(session: Session, batch: str) -> Iterator[bytes]:
    """Yield the file, substitutions included."""
    parts = select(DrawFilePart.data).where(DrawFilePart.batch == batch)
    order = (DrawFilePart.section, DrawFilePart.number)
    for data in session.execute(parts.order_by(*order).execution_options(yield_per=1)).scalars():
        yield zlib.decompress(data)
    lines = select(OfficerSubstitution.line).where(OfficerSubstitution.batch == batch)
    yield from session.execute(lines.order_by(OfficerSubstitution.number)).scalars()


def sha256(session: Session, batch: str) -> str:
    """Return the SHA-256 of the file as it is now."""
    digest = hashlib.sha256()
    for data in whole(session, batch):
        digest.update(data)
    return digest.hexdigest()


def line(session: Session, batch: str, name: str, first: str) -> list[str]:
    """Return the columns of the line that begins with an id, of a section in order of id.

    Raises:
        Problem: `not-found`.
    """
    query = (
        select(DrawFilePart.data)
        .where(DrawFilePart.batch == batch, DrawFilePart.section == SECTIONS.index(name), DrawFilePart.first <= first)
        .order_by(DrawFilePart.first.desc())
        .limit(1)
    )
    data = session.execute(query).scalar_one_or_none()
    found = b"" if data is None else b"\n" + zlib.decompress(data)
    start = found.find(f"\n{first}\t".encode()) + 1
    if not start:
        raise Problem("not-found", detail="not in the roster of this draw")
    return found[start : found.index(b"\n", start)].decode().split("\t")
