"""The limits that need no platform: hashing, copying, and running them in a process of their own."""

import hashlib
import os
from pathlib import Path

import pytest

from device_sim.bench.frame import BenchFailed
from device_sim.bench.grown_log import leaf_bytes
from device_sim.bench.own_process import in_own_process
from device_sim.bench.prove_suite import raw_append, raw_prove
from device_sim.bench.raw_evidence import both_hashes, raw_copy, raw_read
from server.prooflog.service import MAX_LEAF_BYTES

SM3_OF_ABC = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
"""GB/T 32905-2016, appendix A.1."""


def test_both_hashes() -> None:
    """SHA-256 and SM3 of the published example."""
    assert both_hashes(b"abc") == (hashlib.sha256(b"abc").hexdigest(), SM3_OF_ABC)


def test_sm3_without_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where this build of OpenSSL has no SM3."""

    def refuse(name: str, *_: object) -> object:
        raise ValueError(name)

    monkeypatch.setattr(hashlib, "new", refuse)
    assert both_hashes(b"abc")[1] == SM3_OF_ABC


def test_raw_copy_copies(tmp_path: Path) -> None:
    """The limit of an upload really writes the bytes, and counts megabytes."""
    source = tmp_path / "one"
    source.write_bytes(os.urandom(200_000))
    measured = raw_copy([source], tmp_path / "copies")
    assert (tmp_path / "copies" / "one").read_bytes() == source.read_bytes()
    assert measured.count == pytest.approx(0.2)
    assert len(measured.latencies_s) == 1


def test_raw_read_notices_a_change(tmp_path: Path) -> None:
    """The limit of verifying compares: a changed file fails it."""
    path = tmp_path / "one"
    path.write_bytes(b"abc")
    declared = {path: both_hashes(b"abc")}
    assert raw_read(declared).count == pytest.approx(3e-6)
    path.write_bytes(b"abd")
    with pytest.raises(BenchFailed, match="one"):
        raw_read(declared)


@pytest.mark.parametrize(("leaves", "hashed"), [(1, 1), (2, 3), (7, 13), (8, 15)])
def test_raw_append_hashes_the_whole_tree(leaves: int, hashed: int) -> None:
    """A tree of n leaves has n leaf hashes and n - 1 node hashes, whatever n is."""
    measured = raw_append(leaves)
    assert measured.count == leaves
    assert measured.note.startswith(f"{leaves} leaves, {hashed} hashes")


def test_leaves_are_leaves() -> None:
    """Each leaf is another one, and small enough for the log."""
    assert leaf_bytes(1) != leaf_bytes(2)
    assert len(leaf_bytes(99_999)) < MAX_LEAF_BYTES


def test_own_process_returns_the_result_and_its_memory() -> None:
    """A limit runs elsewhere: the result comes back with that process's own peak."""
    measured = in_own_process(raw_prove, [17, 17])
    assert measured.count == 2
    assert measured.note.startswith("2 proofs, 34 node hashes")
    assert 1 < measured.peak_rss_mb < 500


def test_own_process_that_fails() -> None:
    """What goes wrong there is named here."""
    with pytest.raises(BenchFailed, match=r"raw_copy failed: (.|\n)*FileNotFoundError"):
        in_own_process(raw_copy, [Path("/nonexistent/file")], Path("/nonexistent/target"))
