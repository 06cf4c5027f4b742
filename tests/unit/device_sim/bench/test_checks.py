"""A benchmark fails when what arrived is not what was sent: the checks behind that."""

import json
from pathlib import Path

import pytest

from device_sim.bench.frame import BenchFailed, Options
from device_sim.bench.grown_log import leaf_bytes
from device_sim.bench.installation import Installation
from device_sim.bench.light_client import Answer
from device_sim.bench.prove_suite import ProveBench
from device_sim.bench.segments import Segment
from device_sim.bench.sync_suite import Pushed
from device_sim.demo.programs import Program
from sync.merkle import leaf_hash, node_hash

RECEIPT = b'{"verdict":"applied"}\n'


@pytest.mark.parametrize(
    "body",
    [b"{}\n" + RECEIPT, b"{}\n" + RECEIPT * 3, b"{}\n" + RECEIPT + b'{"verdict":"held"}\n', b""],
    ids=["too few", "too many", "held", "nothing"],
)
def test_every_act_needs_its_receipt(body: bytes) -> None:
    """A reply with fewer, more or other receipts than acts fails the run."""
    segment = Segment("journal", 1, 2, b"", ("a", "b"))
    good = Pushed([segment], [Answer(200, {}, b"{}\n" + RECEIPT * 2)])
    good.check()
    assert (good.acts, good.keys) == (2, [("journal", 1, 2)])
    with pytest.raises(BenchFailed, match="not all of 2 acts"):
        Pushed([segment], [Answer(200, {}, body)]).check()


def test_every_proof_is_verified(tmp_path: Path) -> None:
    """One wrong hash in one proof fails the run."""
    leaves = [leaf_hash(leaf_bytes(index)) for index in range(2)]
    root = node_hash(*leaves)

    def bench(path: bytes) -> ProveBench:
        answer = Answer(200, {}, json.dumps({"index": 0, "size": 2, "path": [path.hex()]}).encode())
        nobody = Program("worker", None, tmp_path)  # type: ignore[arg-type]  # nothing runs here
        return ProveBench(Installation(tmp_path), nobody, Options(), leaves=2, answers=[answer])

    bench(leaves[1]).verify(root)
    with pytest.raises(BenchFailed, match="leaf 0"):
        bench(leaves[0]).verify(root)
