"""Comparing what a device holds with what its scope has, range by range, and sending only what differs."""

from collections.abc import Sequence
from typing import Any

from server.errors import Problem
from server.fieldsync.digests import Tree, digest_tree
from server.fieldsync.feed import Place, cursor_key, open_place, scope_of
from server.fieldsync.scrub import damaged_among, repair
from server.records.feed import read_lines, read_page
from server.records.held import Key
from server.runtime import Runtime
from server.web.principal import Principal
from sync.digest import MAX_PREFIX_DIGITS, MAX_RANGE_PAIRS, SetDigest, total

MAX_RECORDS = 500
"""Most records asked for by id in one request."""


def compare(rt: Runtime, caller: Principal, cursor: str, prefix: str | None) -> dict[str, Any]:
    """Return the digest of a device's scope, or of the ranges below `prefix`, with the position they stand for.

    `behind` says that the scope has changed since the cursor, so that digests differ without anything being wrong. A
    range with few pairs is answered by the pairs themselves.
    """
    with digest_tree(rt, scope_of(caller)) as tree:
        here = Place(tree.epoch, caller.subject, scope_of(caller))
        answer: dict[str, Any] = {
            "epoch": tree.epoch,
            "position": tree.position,
            "cursor": here.cursor(cursor_key(rt), tree.position, whole=True),
            "behind": _is_behind(rt, tree, caller, cursor),
        }
        if prefix is None:
            return answer | _described(total(tree.leaves))
        children = tree.split(prefix) if len(prefix) < MAX_PREFIX_DIGITS else {}
        if sum(child.count for child in children.values()) <= MAX_RANGE_PAIRS:
            pairs = [[name, content.hex()] for name, content in tree.pairs(prefix)]
            return answer | {"pairs": pairs}
        return answer | {"ranges": {child: _described(digest) for child, digest in children.items()}}


def _described(digest: SetDigest) -> dict[str, Any]:
    return {"count": digest.count, "digest": digest.hex()}


def _is_behind(rt: Runtime, tree: Tree, caller: Principal, cursor: str) -> bool:
    try:
        place = open_place(tree.session, rt, caller, cursor)
    except Problem:
        return True
    if place.held is not None:
        return True
    return bool(read_page(tree.session, place.scope, place.position, 1).items)


def lines_of(rt: Runtime, caller: Principal, keys: Sequence[Key]) -> list[bytes]:
    """Return the lines of records in which a device differs; what its scope does not see comes as having left.

    A difference may be the server's own fault, so each record is first compared with its acts, and repaired from them.
    """
    scope = scope_of(caller)
    with rt.db.read() as session:
        suspects = list(damaged_among(session, keys))
    if suspects:
        with rt.db.write() as session:
            repair(session, rt, suspects)
    with rt.db.read() as session:
        return [line for _, line in read_lines(session, scope, keys)]
