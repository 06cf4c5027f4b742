"""What a device says of itself beside a segment: what it knows of the server's time, and what is still to come."""

from werkzeug.datastructures import Headers

from server.errors import Problem
from sync.acts import ActError
from sync.clocks import Exchange, parse_exchange

CLOCK_HEADER = "Fieldproof-Clock"
PENDING_HEADER = "Fieldproof-Pending"
MAX_PENDING = 2**31 - 1


def announced_exchange(headers: Headers) -> Exchange | None:
    """Return the exchange in `Fieldproof-Clock: <boot> <sent_mono_ms> <server_ms> <received_mono_ms>`; None without.

    Raises:
        Problem: `bad-request`.
    """
    text = headers.get(CLOCK_HEADER)
    if text is None:
        return None
    try:
        return parse_exchange(text)
    except ActError as error:
        raise Problem("bad-request", field=CLOCK_HEADER, detail=error.reason, limit=error.limit) from error


def announced_pending(headers: Headers) -> tuple[int, int] | None:
    """Return the counts in `Fieldproof-Pending: <acts> <files>`, those in this segment left out; None without.

    Raises:
        Problem: `bad-request`.
    """
    text = headers.get(PENDING_HEADER)
    if text is None:
        return None
    counts = text.split(" ")
    if len(counts) != 2 or not all(one.isascii() and one.isdecimal() and len(one) <= 10 for one in counts):
        raise Problem("bad-request", field=PENDING_HEADER, detail="must be two whole numbers: acts and files")
    return min(int(counts[0]), MAX_PENDING), min(int(counts[1]), MAX_PENDING)
