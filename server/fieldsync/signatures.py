"""Verifying who signed a pushed segment."""

from collections.abc import Callable
from functools import partial

from server.devices.keys import SigningKeys, former_keys, verify_segment
from server.runtime import Runtime
from server.web.principal import Principal
from sync.journal import SegmentHead


def segment_verifier(rt: Runtime, caller: Principal) -> Callable[[SegmentHead], None]:
    """Return a check of segment heads against the calling device's keys; it raises `bad-signature`.

    The present key came with the caller; only a device that has changed its key costs a look into the database.
    """
    keys = SigningKeys(caller.public_key, ())
    if caller.key_number > 1:
        with rt.db.read() as session:
            former = former_keys(session, caller.subject)
            keys = SigningKeys(caller.public_key, tuple((key.public_key, key.heads) for key in former))
    return partial(verify_segment, keys)
