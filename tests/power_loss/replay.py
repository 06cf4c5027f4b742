"""What a loss of power leaves behind: synced bytes for certain, and of what was written since, anything.

A write that was not synced may be there, or not, or only some of its sectors, whatever became of the writes before it.
Sizes of files follow what is there. Nothing synced is lost, and no sector is half written: a disk promises that much.
"""

import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.db.engine import sqlite_module
from tests.power_loss.recording import ACKNOWLEDGED, DELETE, SYNC, TRUNCATE, WRITE, Recording, Step, receipts_of

SECTOR = 512
KEEP_ALL, KEEP_NONE, KEEP_SOME = "all kept", "all dropped", "some kept or torn"


@dataclass
class _File:
    """A file on the disk: what is certain, and what is on its way."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)


def _apply(content: bytearray, step: Step, sectors: range | None = None) -> None:
    if step.what == TRUNCATE:
        del content[step.offset :]
        return
    end = step.offset + len(step.data)
    if sectors is not None:
        first = step.offset - step.offset % SECTOR
        start, stop = max(step.offset, first + sectors.start * SECTOR), min(end, first + sectors.stop * SECTOR)
        step = Step(WRITE, step.file, start, step.data[start - step.offset : max(stop, start) - step.offset])
        end = start + len(step.data)
    if not step.data:
        return
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[step.offset : end] = step.data


@dataclass(frozen=True)
class Image:
    """The files after a loss of power, and what had been promised by then."""

    at: int
    """After how many steps the power went."""
    mode: str
    files: dict[str, bytes]
    promised: dict[tuple[str, int], bytes]
    unsynced: int
    """How many writes were on their way."""


def images(base: dict[str, bytes], recording: Recording, wanted: int, chance: random.Random) -> Iterator[Image]:
    """Yield images at random instants, half of them just after an answer left.

    Args:
        base: the files when the recording began, by name.
        recording: what happened since.
        wanted: how many images.
        chance: decides instants and what is kept.
    """
    files = {name: _File(bytearray(content)) for name, content in base.items()}
    promised: dict[tuple[str, int], bytes] = {}
    instants = _instants(recording.steps, wanted, chance)
    for at, step in enumerate(recording.steps, start=1):
        if step.what == ACKNOWLEDGED:
            promised = promised | dict(receipts_of(step))
        elif step.what == DELETE:
            files.pop(step.file, None)
        else:
            file = files.setdefault(step.file, _File())
            if step.what == SYNC:
                for one in file.pending:
                    _apply(file.certain, one)
                file.pending.clear()
            else:
                file.pending.append(step)
        for _ in range(instants.count(at)):
            mode = chance.choice((KEEP_ALL, KEEP_NONE, KEEP_SOME, KEEP_SOME))
            left = {name: _left(file, mode, chance) for name, file in files.items()}
            yield Image(at, mode, left, promised, sum(len(file.pending) for file in files.values()))


def _instants(steps: Sequence[Step], wanted: int, chance: random.Random) -> list[int]:
    answers = [at for at, step in enumerate(steps, start=1) if step.what == ACKNOWLEDGED]
    anywhere = [chance.randint(1, len(steps)) for _ in range(wanted - wanted // 2)]
    return anywhere + [chance.choice(answers) for _ in range(wanted // 2)]


def _left(file: _File, mode: str, chance: random.Random) -> bytes:
    content = bytearray(file.certain)
    for step in file.pending:
        if mode == KEEP_ALL or (mode == KEEP_SOME and chance.random() < 0.5):
            torn = mode == KEEP_SOME and step.what == WRITE and chance.random() < 0.3
            _apply(content, step, range(*_torn(step, chance)) if torn else None)
    return bytes(content)


def _torn(step: Step, chance: random.Random) -> tuple[int, int]:
    sectors = -(-(step.offset % SECTOR + len(step.data)) // SECTOR)
    cut = chance.randint(0, sectors)
    return (0, cut) if chance.random() < 0.5 else (cut, sectors)


def faults(image: Image, folder: Path, written: dict[tuple[str, int], bytes]) -> list[str]:
    """Open an image as the next start would, and return what is wrong.

    Args:
        image: what the power left behind.
        folder: an empty folder on a fast disk.
        written: the bytes of every act by dot: header, body and personal part joined.
    """
    for name, content in image.files.items():
        (folder / name).write_bytes(content)
    main = next(name for name in image.files if name.endswith(".db"))
    connection: sqlite3.Connection = sqlite_module().connect(folder / main)
    try:
        found = [line for (line,) in connection.execute("PRAGMA quick_check(3)") if line != "ok"]
        rows = connection.execute("SELECT journal, seq, receipt, header, body, personal FROM act").fetchall()
        if any(None in row for row in rows):
            return [*found, "an act lacks what no act may lack"]
        stored = {(journal, seq): (receipt, b"".join(parts)) for journal, seq, receipt, *parts in rows}
        gaps = [(journal, seq) for journal, seq in stored if seq > 1 and (journal, seq - 1) not in stored]
    except sqlite_module().DatabaseError as error:
        return [f"does not open: {error}"]
    finally:
        connection.close()
        for path in folder.iterdir():
            path.unlink()
    for dot, receipt in image.promised.items():
        if stored.get(dot) != (receipt, written[dot]):
            found.append(f"acknowledged act {dot[0]}:{dot[1]} is {'changed' if dot in stored else 'gone'}")
    return found + [f"{journal}:{seq} is there without the act before it" for journal, seq in gaps]
