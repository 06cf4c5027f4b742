"""The chain of custody: intact chains pass, and every kind of tampering is found and named."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from server.evidence.custody import Entry, check_chain, entry_hash, make_entry

EVIDENCE = "0190a0b0-0000-7000-8000-000000000001"
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def chain(length: int = 4, evidence: str = EVIDENCE) -> list[Entry]:
    """A chain of one capture and some views."""
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        action = "capture" if seq == 1 else "view"
        prev = entries[-1].hash if entries else ""
        entries.append(
            make_entry(
                evidence=evidence, seq=seq, prev=prev, action=action, actor="device:样例", at=AT, detail={"n": seq}
            )
        )
    return entries


def faults(entries: list[Entry], original: list[Entry]) -> list[tuple[int, str]]:
    """Check entries against the count and head of the original chain."""
    found = check_chain(EVIDENCE, entries, count=len(original), head=original[-1].hash)
    return [(fault.seq, fault.reason) for fault in found]


def test_intact_chain_has_no_fault() -> None:
    """A chain as it was written passes, an empty one too."""
    assert faults(chain(), chain()) == []
    assert check_chain(EVIDENCE, [], count=0, head="") == []


def test_entry_is_hashed_as_written() -> None:
    """The hash covers the stored bytes, which are readable JSON."""
    entry = chain(1)[0]
    assert entry.hash == entry_hash(entry.body)
    assert json.loads(entry.body)["at"] == "2026-03-01T08:00:00+00:00"


def test_changed_entry_is_named() -> None:
    """One changed byte names its entry."""
    entries = chain()
    entries[2] = replace(entries[2], body=entries[2].body.replace(b'"n":3', b'"n":4'))
    assert faults(entries, chain())[0] == (3, "the entry was changed")


def test_changed_and_rehashed_entry_breaks_the_next() -> None:
    """A forger who also fixes the hash breaks the entry behind it."""
    entries = chain()
    body = entries[1].body.replace(b'"n":2', b'"n":9')
    entries[1] = Entry(2, body, entry_hash(body))
    assert faults(entries, chain()) == [(3, "the entry does not follow the one before it")]


def test_forged_last_entry_misses_the_head() -> None:
    """The last entry has nobody behind it, but the recorded head."""
    entries = chain()
    body = entries[3].body.replace(b'"n":4', b'"n":9')
    entries[3] = Entry(4, body, entry_hash(body))
    assert faults(entries, chain()) == [(4, "the last hash is not the recorded head")]


def test_removed_entry_is_named() -> None:
    """A gap shows at the entry that closed up."""
    entries = chain()
    del entries[1]
    found = faults(entries, chain())
    assert found[0] == (2, "entry 3 stands here: one was removed, added or moved")
    assert found[-1] == (4, "1 entries are missing at the end")


def test_swapped_entries_are_named() -> None:
    """Both places of a swap show."""
    entries = chain()
    entries[1], entries[2] = entries[2], entries[1]
    assert [seq for seq, _ in faults(entries, chain())][:2] == [2, 3]


def test_truncation_is_named() -> None:
    """A shortened chain differs from its recorded length."""
    assert faults(chain()[:-1], chain()) == [(4, "1 entries are missing at the end")]


def test_added_entry_is_named() -> None:
    """A longer chain differs from its recorded length."""
    assert faults(chain(5), chain(4)) == [(5, "1 entries more than recorded")]


def test_entry_of_other_evidence_is_named() -> None:
    """A chain copied from another record does not fit."""
    other = chain(2, evidence="0190a0b0-0000-7000-8000-000000000002")
    assert faults(other, other)[0] == (1, "the entry belongs to other evidence")


@pytest.mark.parametrize("body", [b"not json", b"[1]"], ids=["text", "list"])
def test_unreadable_entry_is_named(body: bytes) -> None:
    """An entry that is no JSON object is a fault, not a crash."""
    entries = [Entry(1, body, entry_hash(body))]
    assert faults(entries, entries) == [(1, "the entry is not readable")]


def test_unknown_action_is_refused() -> None:
    """Only known actions are written."""
    with pytest.raises(ValueError, match="unknown custody action"):
        make_entry(evidence=EVIDENCE, seq=1, prev="", action="destroy", actor="x", at=AT, detail={})
