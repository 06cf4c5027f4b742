"""Making sure that this device holds exactly what its scope has: digests are compared, and only differences travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_sim.handheld.link import Again, Link, decoded, lines_of
from device_sim.handheld.served import LEAVES, ServedRecord
from device_sim.handheld.store import HandheldStore
from sync.digest import SetDigest

DIGEST_PATH, LINES_PATH = "/api/v1/sync/digest", "/api/v1/sync/lines"
RECORDS_AT_ONCE = 200
"""Records asked for in one request."""
LEAVES_PER_SCRUB = LEAVES // 16
"""Ranges whose lines are read again at each sync: after sixteen syncs everything was."""
SCRUBBED = "scrubbed"
"""Name of the stored value that says how far the rounds of reading again have got."""


class Reconciler:
    """Compares this device's records with its scope on the server, and puts them right."""

    def __init__(self, store: HandheldStore, link: Link) -> None:
        self.store, self.link = store, link

    def scrub_some(self) -> int:
        """Read the next part of the lines again; returns how many ranges were not as they had been served."""
        first = int(self.store.get(SCRUBBED) or 0) % LEAVES
        with self.store.saving():
            wrong = self.store.records.scrub(first, min(first + LEAVES_PER_SCRUB, LEAVES) - 1)
            self.store.put(SCRUBBED, str(first + LEAVES_PER_SCRUB))
        return len(wrong)

    def agrees(self, cursor: str) -> bool | None:
        """Whether all that was served up to `cursor` is here; None when the scope has changed since, as it may."""
        answer = self._ask(cursor=cursor)
        if answer.get("behind") is not False:
            return None
        return _short(self.store.records.digest()) == {name: answer.get(name) for name in ("count", "digest")}

    def adopt(self) -> tuple[str, str]:
        """Put everything right without a usable cursor; returns the server's epoch and a cursor to go on from.

        The cursor is taken before the comparison, so what changes meanwhile comes by the feed.
        """
        answer = self._ask()
        if not isinstance(answer.get("cursor"), str) or not isinstance(answer.get("epoch"), str):
            raise Again("the digest has no cursor")
        self.repair()
        return answer["epoch"], answer["cursor"]

    def repair(self) -> int:
        """Locate what differs by ranges of ids, fetch it and drop what should not be here; returns how much differed.

        Raises `Refused` and `Unreachable`; what was put right until then stays so.
        """
        with self.store.saving():
            self.store.records.scrub()
        wanted, extra, position = self._differences()
        for start in range(0, len(wanted), RECORDS_AT_ONCE):
            self._fetch(wanted[start : start + RECORDS_AT_ONCE])
        with self.store.saving():
            self.store.records.keep((_gone(name, position) for name in extra), anew=True)
        self.link.counts["reconciled"] += len(wanted) + len(extra)
        return len(wanted) + len(extra)

    def _differences(self) -> tuple[list[str], list[str], int]:
        """Names of what is missing or other here, and of what should not be here, range by range; and the position."""
        position = 0
        wanted: list[str] = []
        extra: list[str] = []
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            answer = self._ask(range=prefix)
            position = int(answer.get("position", 0))
            if isinstance(answer.get("pairs"), list):
                ours = {name: content.hex() for name, content in self.store.records.pairs(prefix)}
                theirs = dict(answer["pairs"])
                wanted += [name for name, content in theirs.items() if ours.get(name) != content]
                extra += [name for name in ours if name not in theirs]
                continue
            here, there = self.store.records.split(prefix), answer.get("ranges", {})
            for child in here.keys() | there.keys():
                if child not in there:
                    extra += [name for name, _ in self.store.records.pairs(child)]
                elif _short(here.get(child, SetDigest())) != there[child]:
                    waiting.append(child)
        return sorted(wanted), sorted(extra), position

    def _fetch(self, names: list[str]) -> None:
        def request() -> list[ServedRecord]:
            body = {"records": [dict(zip(("kind", "id"), name.split("/", 1), strict=True)) for name in names]}
            with self.link.streamed("POST", LINES_PATH, json=body) as response:
                return [served_record(line, decoded(line)) for line in lines_of(response)]

        served = self.link.attempt(request)
        with self.store.saving():
            self.store.records.keep(served, anew=True)

    def _ask(self, **params: str) -> dict[str, Any]:
        def request() -> dict[str, Any]:
            self.link.counts["digest_requests"] += 1
            return decoded(self.link.request("GET", DIGEST_PATH, params=params).content)

        return self.link.attempt(request)


def served_record(line: bytes, members: Mapping[str, Any]) -> ServedRecord:
    """A served line, or the note that a record has left. Raises `Again` when it is neither."""
    try:
        kind, record, position = str(members["kind"]), str(members["id"]), int(members["position"])
    except (KeyError, TypeError, ValueError) as error:
        raise Again("a line of the answer is no record") from error
    return ServedRecord(kind, record, position, b"" if members.get("left") is True else line)


def _gone(name: str, position: int) -> ServedRecord:
    kind, _, record = name.partition("/")
    return ServedRecord(kind, record, position, b"")


def _short(digest: SetDigest) -> dict[str, Any]:
    return {"count": digest.count, "digest": digest.hex()}
