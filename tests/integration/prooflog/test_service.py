"""Appending to the proof log and proving from it."""

import pytest
from pymerkle import InmemoryTree
from sqlalchemy import event, select

from server.db.engine import Database
from server.errors import Problem
from server.prooflog import service
from server.prooflog.keys import load_key, verify_signature
from server.prooflog.models import Leaf, PendingLeaf, Tile
from server.runtime import Runtime
from sync.checkpoints import VerifierKey, open_checkpoint
from sync.merkle import verify_consistency, verify_inclusion
from sync.tiles import TILE_BYTES, tile_bytes
from tests.conftest import FakeClock
from tests.integration.prooflog.growing import grow, leaf_text, sequence, wait_in_line


def test_leaves_get_places_in_order_of_arrival(rt: Runtime) -> None:
    """Nothing is appended before the sequencer runs; then everything is, in order, under one signed head."""
    wait_in_line(rt, 0, 5)
    with rt.db.read() as session:
        assert service.latest_head(session) is None
        assert service.log_size(session) == 0
        assert service.pending_count(session) == service.pending_count(session, "evidence") == 5
        assert service.pending_count(session, "behavior") == 0
    assert sequence(rt) == 5
    with rt.db.read() as session:
        assert service.pending_count(session) == 0
        assert service.log_size(session) == 5
        assert [row.data for row in service.leaves(session, "evidence", 0, 5, 10)] == [leaf_text(n) for n in range(5)]
        assert [row.index for row in service.leaves(session, "evidence", 2, 4, 10)] == [2, 3]
        assert service.leaves(session, "behavior", 0, 5, 10) == []


def test_an_idle_step_changes_nothing(rt: Runtime) -> None:
    """Without waiting leaves no head is signed."""
    grow(rt, 3)
    assert sequence(rt) == 0
    with rt.db.read() as session:
        assert [head.size for head in service.heads(session, 0, 10)] == [3]


def test_leaves_vanish_with_their_transaction(rt: Runtime) -> None:
    """What is rolled back never reaches the log."""

    def fail() -> None:
        with rt.db.write() as session:
            service.enqueue(session, rt, "evidence", "lost", b"{}")
            raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        fail()
    assert sequence(rt) == 0


def test_a_step_takes_a_limited_number(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long line is worked off in several steps, each with its head."""
    monkeypatch.setattr(service, "MAX_STEP_LEAVES", 4)
    wait_in_line(rt, 0, 10)
    assert [sequence(rt) for _ in range(4)] == [4, 4, 2, 0]
    with rt.db.read() as session:
        assert [head.size for head in service.heads(session, 0, 10)] == [4, 8, 10]


def test_repeated_leaves_are_appended_once(rt: Runtime) -> None:
    """The same kind, reference and bytes count once, whether they wait together or come again later."""
    wait_in_line(rt, 0, 2)
    wait_in_line(rt, 1, 2)
    assert sequence(rt) == 3
    wait_in_line(rt, 0, 3)
    assert sequence(rt) == 0
    with rt.db.write() as session:
        assert service.pending_count(session) == 0
        service.enqueue(session, rt, "evidence", "sample-0", b"other bytes")
    assert sequence(rt) == 1


@pytest.mark.parametrize(
    ("kind", "ref", "data"),
    [
        ("rumour", "a", b"{}"),
        ("evidence", "", b"{}"),
        ("evidence", "r" * 129, b"{}"),
        ("evidence", "a", b"x" * (service.MAX_LEAF_BYTES + 1)),
        ("evidence", "a", b"\xff"),
    ],
)
def test_impossible_leaves_are_refused(rt: Runtime, kind: str, ref: str, data: bytes) -> None:
    """An unknown kind, a reference or leaf past its limit, and bytes that are no text are faults of the caller."""
    with rt.db.write() as session, pytest.raises(ValueError, match="."):
        service.enqueue(session, rt, kind, ref, data)


def test_roots_agree_with_pymerkle(rt: Runtime) -> None:
    """Every head's root is that of a second implementation over the same leaves."""
    grow(rt, 1, 2, 5, 1, 8, 16, 3)
    oracle = InmemoryTree(algorithm="sha256")
    for number in range(36):
        oracle.append_entry(leaf_text(number))
    with rt.db.read() as session:
        found = service.heads(session, 0, 100)
        assert [head.size for head in found] == [1, 3, 8, 9, 17, 33, 36]
        assert all(head.root == oracle.get_root(head.size) for head in found)


def test_every_proof_verifies(rt: Runtime) -> None:
    """All inclusion proofs at all head sizes, and consistency between all heads."""
    grow(rt, 3, 4, 6, 8)
    with rt.db.read() as session:
        found = service.heads(session, 0, 10)
        for head in found:
            for proof in service.inclusions(session, range(head.size), head.size):
                assert verify_inclusion(proof.leaf_hash, proof.index, proof.size, proof.path, head.root)
                assert proof == service.inclusion(session, proof.index, proof.size)
        for old in found:
            for new in found:
                if old.size <= new.size:
                    path = service.consistency(session, old.size, new.size)
                    assert verify_consistency(old.size, new.size, old.root, new.root, path)


def test_many_proofs_take_few_queries(rt: Runtime) -> None:
    """Proofs of many leaves read each level once, however many leaves there are."""
    grow(rt, 300)
    statements: list[str] = []
    event.listen(rt.db.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with rt.db.read() as session:
        service.inclusions(session, range(300), 300)
    assert len(statements) <= 20


@pytest.mark.parametrize(
    ("index", "size", "field"), [(0, 6, "size"), (5, 5, "index"), (9, 3, "index"), (-1, 3, "index"), (0, -1, "size")]
)
def test_proofs_beyond_the_log_are_refused(rt: Runtime, index: int, size: int, field: str) -> None:
    """Indexes and sizes that the log does not have name the field and the limit."""
    grow(rt, 5)
    with rt.db.read() as session, pytest.raises(Problem) as caught:
        service.inclusion(session, index, size)
    assert (caught.value.code, caught.value.field) == ("invalid-field", field)


def test_too_many_proofs_at_once_are_refused(rt: Runtime) -> None:
    """The number of proofs in one call has a limit."""
    with rt.db.read() as session, pytest.raises(Problem) as caught:
        service.inclusions(session, range(service.MAX_PROOFS + 1), 1)
    assert (caught.value.code, caught.value.limit) == ("limit-exceeded", service.MAX_PROOFS)


@pytest.mark.parametrize(("first", "second", "field"), [(4, 3, "first"), (-1, 3, "first"), (1, 6, "second")])
def test_impossible_consistency_is_refused(rt: Runtime, first: int, second: int, field: str) -> None:
    """Sizes out of order or beyond the log name the field."""
    grow(rt, 5)
    with rt.db.read() as session, pytest.raises(Problem) as caught:
        service.consistency(session, first, second)
    assert (caught.value.code, caught.value.field) == ("invalid-field", field)


def test_heads_are_signed_checkpoints(rt: Runtime) -> None:
    """A head's text opens with the public key, and not with another one."""
    grow(rt, 2, 3)
    key = load_key(rt.settings).verifier
    with rt.db.read() as session:
        head = service.latest_head(session)
        assert head is not None
        checkpoint, signature = service.checkpoint_of(session, head)
        note = checkpoint.body() + b"\n" + signature.line()
        assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (key.name, 5, head.root)
    assert open_checkpoint(note, [key], verify_signature) == checkpoint
    assert not verify_signature(VerifierKey("other", bytes(32)).public_key, signature.signature, checkpoint.body())


def test_head_times_never_run_backwards(rt: Runtime, clock: FakeClock) -> None:
    """A clock that is set back does not date a head before the one in front of it."""
    grow(rt, 1)
    clock.advance(-3600)
    wait_in_line(rt, 1, 1)
    sequence(rt)
    with rt.db.read() as session:
        first, second = service.heads(session, 0, 10)
        assert first.at_ms == second.at_ms


def test_tiles_hold_each_subtree_once(rt: Runtime) -> None:
    """The store holds exactly the perfect subtrees, in tiles of the tree's sizes; full ones stay."""
    grow(rt, 3, 254, 13)
    before = _tiles(rt)
    assert {place: len(data) for place, data in before.items()} == {
        (0, 0): TILE_BYTES, (0, 1): tile_bytes(14), (1, 0): tile_bytes(1)
    }  # fmt: skip
    with rt.db.read() as session:
        assert len(list(session.execute(select(Leaf.index)))) == 270
        assert list(session.execute(select(PendingLeaf.id))) == []
    wait_in_line(rt, 270, 1)
    sequence(rt)
    after = _tiles(rt)
    assert after.keys() == before.keys()
    assert after[0, 0] == before[0, 0]
    assert after[0, 1].startswith(before[0, 1])
    assert len(after[0, 1]) == tile_bytes(15)


def _tiles(rt: Runtime) -> dict[tuple[int, int], bytes]:
    with rt.db.read() as session:
        rows = session.execute(select(Tile.level, Tile.index, Tile.data))
        return {(level, index): data for level, index, data in rows}


def test_a_second_process_continues(rt: Runtime) -> None:
    """The frontier is read back from the store: another process appends to the same tree."""
    grow(rt, 5)
    other = Runtime(rt.settings, Database(rt.settings.database_url), rt.clock, rt.random_bytes)
    wait_in_line(other, 5, 4)
    assert sequence(other) == 4
    other.db.dispose()
    oracle = InmemoryTree(algorithm="sha256")
    for number in range(9):
        oracle.append_entry(leaf_text(number))
    with rt.db.read() as session:
        head = service.latest_head(session)
        assert head is not None
        assert head.root == oracle.get_root(9)


def test_a_missing_leaf_is_not_found(rt: Runtime) -> None:
    """Indexes beyond the log, and beyond any log, are not found."""
    grow(rt, 1)
    with rt.db.read() as session:
        assert service.leaf(session, 0).ref == "sample-0"
        for index in (1, 1 << 70):
            with pytest.raises(Problem) as caught:
                service.leaf(session, index)
            assert caught.value.code == "not-found"
