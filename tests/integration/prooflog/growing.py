"""Growing a proof log in tests."""

from server.prooflog.service import enqueue, sequence_step
from server.runtime import Runtime


def leaf_text(number: int) -> bytes:
    """Bytes of sample leaf `number`."""
    return b'{"sample":%d}' % number


def wait_in_line(rt: Runtime, first: int, count: int) -> None:
    """Enqueue sample leaves in one transaction."""
    with rt.db.write() as session:
        for number in range(first, first + count):
            enqueue(session, rt, "evidence", f"sample-{number}", leaf_text(number))


def sequence(rt: Runtime) -> int:
    """Run the sequencer once."""
    with rt.db.write() as session:
        return sequence_step(session, rt)


def grow(rt: Runtime, *batches: int) -> None:
    """Append batches of sample leaves, each under a head of its own."""
    first = 0
    for count in batches:
        wait_in_line(rt, first, count)
        sequence(rt)
        first += count
