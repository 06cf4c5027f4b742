"""Acts whose content did not arrive as it was written: the server names the part, and they are sent again once.

The receipt says so. Of an act beyond a gap, which is held at first, its later status does.
"""

import json
from collections.abc import Iterable

from device_sim.handheld.store import HandheldStore
from sync.acts import ActError, ActParts, check_commitments, parse_header
from sync.dots import Dot, parse_dot
from sync.merge import Verdict

DAMAGED = "damaged"
"""Name of the stored value that lists acts to be sent again."""


def names_content(verdict: object, problem: object) -> bool:
    """Whether an act was quarantined for a part as a whole: it may have been damaged on the way."""
    if verdict != Verdict.QUARANTINED:
        return False
    return isinstance(problem, dict) and problem.get("field") in ("body", "personal")


def is_whole(parts: ActParts) -> bool:
    """Whether an act's parts are here as its header commits to them."""
    try:
        check_commitments(parse_header(json.loads(parts.header)), parts)
    except ActError:
        return False
    return True


def note_damaged(store: HandheldStore, dots: Iterable[Dot]) -> None:
    """Remember acts to be sent again; within the caller's saving."""
    found = [str(dot) for dot in dots]
    if found:
        store.put(DAMAGED, json.dumps(list(dict.fromkeys([*json.loads(store.get(DAMAGED) or "[]"), *found]))))


def found_so_now(store: HandheldStore, journal: str, seqs: Iterable[int]) -> list[Dot]:
    """Return those of some quarantined acts that were not known to be: held ones, and ones of a restored server."""
    query = "SELECT status FROM acts WHERE journal = ? AND seq = ?"
    known = [(Dot(journal, seq), store.db.execute(query, (journal, seq)).fetchone()) for seq in seqs]
    return [dot for dot, row in known if row is not None and row[0] != Verdict.QUARANTINED]


def noted_damaged(store: HandheldStore) -> list[Dot]:
    """Return the acts to be sent again."""
    return [parse_dot(text) for text in json.loads(store.get(DAMAGED) or "[]")]
