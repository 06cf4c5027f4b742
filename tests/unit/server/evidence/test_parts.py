"""Files of unfinished uploads: one writer at a time, and the newest one wins."""

from pathlib import Path

import pytest

from server.evidence.parts import Parts, Superseded


def test_bytes_are_written_at_their_offset(tmp_path: Path) -> None:
    """A claim makes the file, writes land where they belong."""
    parts = Parts(tmp_path)
    with parts.hold("u1") as held:
        held.claim("w1", 0)
        held.write("w1", 0, b"hello ")
        held.write("w1", 6, b"world")
        held.sync()
        assert held.path.read_bytes() == b"hello world"


def test_claim_cuts_uncounted_bytes(tmp_path: Path) -> None:
    """What a crash left beyond the counted offset goes."""
    parts = Parts(tmp_path)
    with parts.hold("u1") as held:
        held.claim("w1", 0)
        held.write("w1", 0, b"hello world")
        held.claim("w2", 5)
        assert held.path.read_bytes() == b"hello"


def test_older_writer_is_shut_out(tmp_path: Path) -> None:
    """After a take-over the old request cannot write any more."""
    parts = Parts(tmp_path)
    with parts.hold("u1") as held:
        held.claim("w1", 0)
        held.claim("a-much-longer-name", 0)
    with parts.hold("u1") as held:
        with pytest.raises(Superseded):
            held.write("w1", 0, b"late")
        held.write("a-much-longer-name", 0, b"new")
        held.claim("w3", 3)
        with pytest.raises(Superseded):
            held.require("a-much-longer-name")
        held.revoke()
        with pytest.raises(Superseded):
            held.require("w3")


def test_lost_bytes_are_an_error(tmp_path: Path) -> None:
    """A file shorter than what was counted is never filled with zeros."""
    with Parts(tmp_path).hold("u1") as held, pytest.raises(OSError, match="shorter"):
        held.claim("w1", 5)


def test_quarantine_keeps_the_bytes(tmp_path: Path) -> None:
    """Rejected bytes move, and moving them again is harmless."""
    parts = Parts(tmp_path)
    with parts.hold("u1") as held:
        held.claim("w1", 0)
        held.write("w1", 0, b"other")
        assert parts.quarantine(held, "u1").read_bytes() == b"other"
        assert parts.quarantine(held, "u1").read_bytes() == b"other"
        held.discard()
    assert parts.ids() == set()
    assert parts.quarantine_path("u1").exists()


def test_ids_are_those_with_files(tmp_path: Path) -> None:
    """A folder that does not exist has none."""
    parts = Parts(tmp_path)
    assert parts.ids() == set()
    with parts.hold("u1") as held:
        held.claim("w1", 0)
    assert parts.ids() == {"u1"}
    with parts.hold("u1") as held:
        held.discard()
    assert parts.ids() == set()
