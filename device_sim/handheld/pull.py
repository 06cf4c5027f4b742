"""Pulling the scope: streamed pages of served lines, each page kept together with its cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from device_sim.handheld.link import Again, Link, Refused, decoded, lines_of
from device_sim.handheld.store import HandheldStore, ServedRecord

PULL_PATH = "/api/v1/sync/pull"
PAGE_RECORDS = 500
MAX_RESTARTS = 3
"""Fresh starts in one pull before giving up: the server refuses every cursor it has just issued."""

CURSOR, GENERATION = "cursor", "generation"


class Puller:
    """Pulls until the server has no more. `on_epoch` is told the server's epoch of each page."""

    def __init__(self, store: HandheldStore, link: Link, on_epoch: Callable[[str], None]) -> None:
        self.store, self.link, self.on_epoch = store, link, on_epoch
        self.page_records = PAGE_RECORDS

    def pull(self) -> int:
        """Pull everything new; returns how many lines came. Raises `Refused` and `Unreachable`."""
        count, restarts = 0, 0
        while True:
            try:
                lines, epoch, more = self.link.attempt(self._page)
            except Refused as error:
                if error.code != "stale-cursor" or restarts >= MAX_RESTARTS:
                    raise
                restarts += 1
                self.start_over()
                continue
            count += lines
            self.on_epoch(epoch)
            if not more:
                self.store.remove_older_generations(self._generation())
                return count

    def start_over(self) -> None:
        """The cursor is no good any more: pull everything again, and forget at the end what was not served again."""
        self.link.counts["pull_restarts"] += 1
        with self.store.saving():
            self.store.put(CURSOR, "")
            self.store.put(GENERATION, str(self._generation() + 1))

    def _generation(self) -> int:
        return int(self.store.get(GENERATION) or 0)

    def _page(self) -> tuple[int, str, bool]:
        """One page in one transaction: its rows and its cursor are both kept, or neither."""
        params: dict[str, str | int] = {"limit": self.page_records}
        cursor = self.store.get(CURSOR)
        if cursor:
            params["cursor"] = cursor
        with self.store.saving(), self.link.streamed("GET", PULL_PATH, params=params) as response:
            lines = lines_of(response)
            first = decoded(next(lines, b""))
            if not isinstance(first.get("cursor"), str):
                raise Again("the page has no cursor")
            count = self.store.keep_records(self._records(lines), self._generation())
            self.store.put(CURSOR, first["cursor"])
        self.link.counts["pull_pages"] += 1
        return count, str(first.get("epoch", "")), first.get("more") is True

    def _records(self, lines: Iterator[bytes]) -> Iterator[ServedRecord]:
        for line in lines:
            members = decoded(line)
            try:
                served = ServedRecord(str(members["kind"]), str(members["id"]), int(members["position"]), line)
            except (KeyError, TypeError, ValueError) as error:
                raise Again("a line of the page is no record") from error
            yield served
