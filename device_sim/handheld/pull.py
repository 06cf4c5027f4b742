"""Pulling the scope: a stream of served lines, each piece kept together with the cursor that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device_sim.handheld.erasing import erase
from device_sim.handheld.first_sync import FirstSync
from device_sim.handheld.link import Again, Link, Refused, decoded, lines_of
from device_sim.handheld.reconciling import Reconciler, served_record
from device_sim.handheld.served import ServedRecord
from device_sim.handheld.store import HandheldStore

PULL_PATH = "/api/v1/sync/pull"
RECORDS_PER_SAVE = 2_000
"""Records kept in memory until they are saved; a cut saves what came with a cursor."""
MAX_RESTARTS = 3
"""Stale cursors in one pull before giving up: the server refuses every cursor it has just issued."""
MAX_COMPARISONS = 3
"""Times that digests are compared in one pull, while others go on writing."""

CURSOR, UNSURE = "cursor", "unsure"
"""Names of stored values: where the feed continues, and whether leaves may have been missed."""


class Puller:
    """Pulls until the server has no more, and makes sure. `on_epoch` is told the server's epoch of each answer."""

    def __init__(self, store: HandheldStore, link: Link, on_epoch: Callable[[str], None]) -> None:
        self.store, self.link, self.on_epoch = store, link, on_epoch
        self.reconciler = Reconciler(store, link)

    def pull(self) -> int:
        """Pull everything new; returns how many lines came. Raises `Refused` and `Unreachable`."""
        count = 0
        if not self.store.get(CURSOR) and not self.store.records.count():
            epoch, count = FirstSync(self.store, self.link).load()
            self.on_epoch(epoch)
        count += self._follow()
        self.reconciler.scrub_some()
        for _ in range(MAX_COMPARISONS):
            agrees = self.reconciler.agrees(self.store.get(CURSOR))
            if agrees is None:
                count += self._follow()
                continue
            if not agrees or self.store.get(UNSURE):
                self.reconciler.repair()
                self.store.put(UNSURE, "")
            break
        return count

    def _follow(self) -> int:
        """Follow the feed to its end, wherever the cursor stands."""
        count, restarts = 0, 0
        while True:
            try:
                lines, epoch, more = self.link.attempt(self._stream)
            except Refused as error:
                if error.code != "stale-cursor" or restarts >= MAX_RESTARTS:
                    raise
                restarts += 1
                self._adopt()
                continue
            count += lines
            self.on_epoch(epoch)
            if not more:
                return count

    def _adopt(self) -> None:
        """The cursor is no good any more: compare digests, fetch what differs, and go on from there."""
        self.link.counts["pull_restarts"] += 1
        epoch, cursor = self.reconciler.adopt()
        self.on_epoch(epoch)
        with self.store.saving():
            self.store.put(CURSOR, cursor)
            self.store.put(UNSURE, "")

    def _stream(self) -> tuple[int, str, bool]:
        """One stream. Lines are saved with a cursor that follows them, or not at all; a cut keeps the saved ones."""
        cursor = self.store.get(CURSOR)
        with self.link.streamed("GET", PULL_PATH, params={"cursor": cursor} if cursor else {}) as response:
            lines = lines_of(response)
            head = decoded(next(lines, b""))
            if not isinstance(head.get("epoch"), str):
                raise Again("the answer has no head")
            if head.get("reconcile") is True:
                self.store.put(UNSURE, "1")
            self.link.counts["streams"] += 1
            count, last = 0, None
            erasures: list[tuple[str, str]] = []
            waiting = _Waiting(self.store)
            try:
                for line in lines:
                    members = decoded(line)
                    if members.get("erase") is True:
                        erasures.append((str(members.get("kind", "")), str(members.get("id", ""))))
                    elif "kind" in members:
                        waiting.add(served_record(line, members))
                        count += 1
                    else:
                        last = _mark(members)
                        waiting.reached(str(last["cursor"]))
            finally:
                waiting.save()
        if erasures:
            erase(self.store, self.link, erasures)
        if last is None or waiting.rest:
            raise Again("the stream was cut")
        return count, head["epoch"], last["more"]


class _Waiting:
    """Lines that have come and are not saved yet: those up to the last cursor, and the rest behind it."""

    def __init__(self, store: HandheldStore) -> None:
        self.store = store
        self.ready: list[ServedRecord] = []
        self.rest: list[ServedRecord] = []
        self.cursor = ""

    def add(self, record: ServedRecord) -> None:
        self.rest.append(record)

    def reached(self, cursor: str) -> None:
        """A cursor stands for everything before it."""
        self.ready += self.rest
        self.rest = []
        self.cursor = cursor
        if len(self.ready) >= RECORDS_PER_SAVE:
            self.save()

    def save(self) -> None:
        if self.cursor:
            with self.store.saving():
                self.store.records.keep(self.ready)
                self.store.put(CURSOR, self.cursor)
        self.ready, self.cursor = [], ""


def _mark(members: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(members.get("cursor"), str) or not isinstance(members.get("more"), bool):
        raise Again("a line of the answer is neither a record nor a cursor")
    return members
