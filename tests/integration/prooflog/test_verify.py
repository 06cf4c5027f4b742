"""Recomputing the log: whatever is changed, removed or added is named."""

from collections.abc import Callable

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from server.prooflog import verify
from server.prooflog.keys import load_key
from server.prooflog.models import Head, Leaf, ProofLog, Tile
from server.prooflog.verify import MAX_FINDINGS, verify_log
from server.runtime import Runtime
from sync.merkle import leaf_hash
from tests.integration.prooflog.growing import grow, sequence, wait_in_line

Damage = Callable[[Session], object]


def findings(rt: Runtime) -> list[str]:
    """What verification names."""
    with rt.db.read() as session:
        return verify_log(session, rt)[1]


def damage(rt: Runtime, change: Damage) -> list[str]:
    """Do something to the tables behind the platform's back; returns what verification names."""
    with rt.db.write() as session:
        change(session)
    return findings(rt)


def change_tile(session: Session, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of the first tile."""
    (data,) = session.execute(select(Tile.data).where(Tile.level == 0, Tile.index == 0)).one()
    session.execute(update(Tile).where(Tile.level == 0, Tile.index == 0).values(data=change(data)))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks even for a small log."""
    monkeypatch.setattr(verify, "CHUNK_LEAVES", 4)


def test_an_untouched_log_has_no_findings(rt: Runtime) -> None:
    """Leaves, tiles and heads are counted, and nothing is wrong; an empty log has nothing to check."""
    with rt.db.read() as session:
        assert verify_log(session, rt) == (0, [])
    grow(rt, 3, 4, 6)
    wait_in_line(rt, 13, 2)
    with rt.db.read() as session:
        assert verify_log(session, rt) == (13 + 1 + 3, [])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda s: s.execute(update(Leaf).where(Leaf.index == 5).values(data=b"{}")),
            ["leaf 5 (evidence sample-5): its bytes do not have the stored hash"],
        ),
        (
            lambda s: s.execute(update(Leaf).where(Leaf.index == 12).values(data=b"{}", hash=leaf_hash(b"{}"))),
            ["head 13: its root is not that of the first 13 leaves", "node 12 of level 0"],
        ),
        (
            lambda s: s.execute(update(Leaf).where(Leaf.index == 2).values(data=b"{}", hash=leaf_hash(b"{}"))),
            ["head 3: its root", "node 2 of level 0", "node 1 of level 1", "node 0 of level 2", "head 7: its root",
             "node 0 of level 3", "head 13"],
        ),
        (
            lambda s: s.execute(delete(Leaf).where(Leaf.index == 6)),
            ["says that it has 13 leaves and has 12", "leaf 6 is missing", "head 7: covers", "head 13: covers"],
        ),
        (
            lambda s: s.execute(delete(Leaf).where(Leaf.index == 12)),
            ["says that it has 13 leaves and has 12", "head 13: covers", "tile 0 of level 0 holds nodes of no"],
        ),
        (
            lambda s: change_tile(s, lambda data: data[: 13 * 32] + bytes(32) + data[14 * 32 :]),
            ["node 1 of level 2 is not the hash of the leaves below it"],
        ),
        (
            lambda s: change_tile(s, lambda data: data[:-32]),
            ["node 12 of level 0 is missing"],
        ),
        (
            lambda s: change_tile(s, lambda data: data + bytes(32)),
            ["tile 0 of level 0 holds nodes of no complete subtree"],
        ),
        (
            lambda s: s.execute(insert(Tile), [{"level": 5, "index": 0, "data": bytes(32)}]),
            ["tile 0 of level 5 holds nodes of no complete subtree"],
        ),
        (
            lambda s: s.execute(update(Head).where(Head.size == 7).values(root=bytes(32))),
            ["head 7: its root is not", "head 7: its signature does not verify"],
        ),
        (
            lambda s: s.execute(update(Head).where(Head.size == 7).values(signature=bytes(64))),
            ["head 7: its signature does not verify"],
        ),
        (
            lambda s: s.execute(update(Head).where(Head.size == 7).values(key_id="00000000")),
            ["head 7: signed with another key"],
        ),
        (
            lambda s: s.execute(update(Head).where(Head.size == 3).values(at_ms=Head.at_ms + 5)),
            ["head 3: its signature does not verify", "head 7: is dated before the head in front of it"],
        ),
        (
            lambda s: s.execute(delete(Head).where(Head.size == 13)),
            ["the newest head covers 7 leaves of 13"],
        ),
        (
            lambda s: s.execute(update(ProofLog).values(size=12)),
            ["says that it has 12 leaves and has 13", "newest head covers 13 leaves of 12"],
        ),
        (
            lambda s: s.execute(delete(ProofLog)),
            ["its own row is missing"],
        ),
    ],
    ids=[
        "leaf bytes", "last leaf and hash", "leaf and hash", "leaf removed", "last leaf removed", "node",
        "node removed", "node added", "tile added", "head root", "head signature", "head key", "head time",
        "head removed", "size", "row removed",
    ],
)  # fmt: skip
def test_damage_is_named(rt: Runtime, change: Damage, named: list[str]) -> None:
    """Each kind of damage gives exactly the findings that describe it."""
    grow(rt, 3, 4, 6)
    found = damage(rt, change)
    assert len(found) == len(named), found
    assert all(expected in finding for expected, finding in zip(named, found, strict=True)), found


def test_a_rewritten_log_fails_by_its_signatures(rt: Runtime) -> None:
    """A log rebuilt consistently with another key is found by the heads' signatures."""
    grow(rt, 3)
    (rt.settings.keys_dir / "proof-log.secret").unlink()
    assert load_key(rt.settings).verifier.name != ""
    assert findings(rt) == [f"head 3: signed with another key ({_key_id(rt)})"]
    wait_in_line(rt, 3, 1)
    sequence(rt)


def test_findings_have_a_limit(rt: Runtime) -> None:
    """Past the limit the list says that there is more."""
    grow(rt, MAX_FINDINGS + 20)
    found = damage(rt, lambda session: session.execute(update(Leaf).values(data=b"{}")))
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1] == "and more; the rest is not listed"


def _key_id(rt: Runtime) -> str:
    with rt.db.read() as session:
        found = session.get(Head, 3)
        assert found is not None
        return found.key_id
