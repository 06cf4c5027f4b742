"""Taking in the fresh acts of a segment: check, merge, hold or quarantine each, and release what waited for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from server.errors import Problem
from server.fieldsync.checks import CheckedAct
from server.fieldsync.erased import named_key, refuse_incomplete, without_erased
from server.fieldsync.journals import last_linked
from server.fieldsync.merging import Merging, keys_of, know_seen, release_held, take_positions, try_apply
from server.fieldsync.projections import project
from server.fieldsync.receipts import Unmerged, receipt_of, unmerged_row
from server.fieldsync.segment import LinkedAct, Segment
from server.records.service import epoch_and_erasures
from sync.clocks import Correction, stamp
from sync.dots import Dot


@dataclass(kw_only=True)
class Intake(Merging):
    """One segment on its way in."""

    segment: Segment
    content: Mapping[int, CheckedAct | Problem]
    """What :func:`server.fieldsync.checks.check_acts` found, by number."""
    epoch: str
    clocks: Mapping[str, Correction]
    """How the times of acts are corrected, by the boot in which they were written."""
    followed: bool
    """Whether the act after the segment's last one is here already."""
    stamps: dict[Dot, int] = field(default_factory=dict)


def take_in(work: Intake, fresh: list[LinkedAct], head_seq: int) -> dict[int, bytes]:
    """Check, merge and store the acts that the server did not have; returns their receipts by number.

    `head_seq` is how far the server had the journal without a gap before this segment.
    """
    sound = [(act, found) for act in fresh if isinstance(found := work.content[act.seq], CheckedAct)]
    # All in one order, and locked before looking: an erasure comes before this push or after it.
    work.batch.load({*map(named_key, fresh), *keys_of(sound)})
    _, erasures = epoch_and_erasures(work.session)
    if erasures:
        fresh, work.content = without_erased(work.session, work.caller.subject, fresh, work.content)
    else:
        work.content = refuse_incomplete(fresh, work.content)
    contiguous = fresh[0].seq <= head_seq + 1
    now_ms = work.rt.now_ms()
    for act in fresh:
        correction = work.clocks.get(str(act.members.get("boot")))
        work.stamps[act.dot] = stamp(correction, act.members, now_ms)
    checked: list[tuple[LinkedAct, CheckedAct]] = []
    for act in fresh:
        content = work.content[act.seq]
        if isinstance(content, Problem):
            work.problems[act.dot] = content
        else:
            checked.append((act, content))
    waiting: dict[Dot, str] = {}
    if not contiguous:
        waiting = dict.fromkeys([act.dot for act in fresh], str(Dot(fresh[0].dot.journal, fresh[0].seq - 1)))
    know_seen(work, checked)
    todo = [(act, checked_act) for act, checked_act in checked if act.dot not in waiting]
    moved = _now_linked(work, head_seq) if contiguous else []
    while True:
        # Of the segment's own acts some may wait for stored ones that only the others release.
        settled = _apply_fresh(work, todo, waiting)
        released = release_held(work, map(str, (*moved, *settled)))
        moved, todo = [], [(act, found) for act, found in todo if act.dot in waiting]
        if not todo or not (settled or released):
            break
    return _store(work, fresh, waiting, take_positions(work))


def _apply_fresh(work: Intake, acts: Sequence[tuple[LinkedAct, CheckedAct]], waiting: dict[Dot, str]) -> list[Dot]:
    """Merge what can be merged of a segment's acts; the others are noted in `waiting`. Returns what no longer waits."""
    moved: list[Dot] = []
    for act, checked in acts:
        dot = act.dot
        cause = try_apply(work, work.caller, act, checked, at_ms=work.stamps[dot])
        if cause:
            waiting[dot] = cause
        else:
            waiting.pop(dot, None)
            moved.append(dot)
    return moved


def _now_linked(work: Intake, head_seq: int) -> list[Dot]:
    """The acts that are now there without a gap and were not before: those of the segment, and stored ones beyond it.

    Acts beyond a gap wait for the one before their segment, whatever has become of that one.
    """
    journal, last = work.segment.head.journal, work.segment.head.last
    if work.followed:
        last, _ = last_linked(work.session, journal, last, "")
    return [Dot(journal, seq) for seq in range(head_seq + 1, last + 1)]


def _store(work: Intake, fresh: list[LinkedAct], waiting: dict[Dot, str], newest: int) -> dict[int, bytes]:
    receipts: dict[int, bytes] = {}
    batch = work.batch
    for act in fresh:
        dot = act.dot
        row = batch.rows.get(dot)
        if row is None:
            lost = Unmerged(waiting.get(dot), work.problems.get(dot), work.stamps[dot], newest)
            row = batch.rows[dot] = unmerged_row(act, dot, work.caller.subject, batch.now, lost)
        position = batch.records[batch.record_of[dot]].position if dot in batch.record_of else 0
        receipts[act.seq] = row["receipt"] = receipt_of(row, work.epoch, position)
    project(work.session, work.rt, batch.flush(), batch)
    return receipts
