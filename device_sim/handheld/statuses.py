"""What became of this device's acts after their receipts, and how far the server has its journals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device_sim.handheld.damaged import found_so_now, names_content, note_damaged
from device_sim.handheld.link import Again, Link, Refused, decoded
from device_sim.handheld.store import HandheldStore
from sync.dots import Dot

STATUS_PATH = "/api/v1/sync/status"


class StatusReader:
    """Reads the statuses of this device's acts, each time from where it left off. `on_epoch` is told the epochs."""

    def __init__(self, store: HandheldStore, link: Link, on_epoch: Callable[[str], None] | None = None) -> None:
        self.store, self.link, self.on_epoch = store, link, on_epoch

    def refresh(self) -> int:
        """Take in all changes of statuses; returns how many there were. Raises `Refused` and `Unreachable`."""
        return sum(self._refresh_journal(journal) for journal in self.store.journals())

    def head_seq(self, journal: str) -> int:
        """The last act of a journal up to which the server has it without a gap; 0 when it does not know it."""
        page = self._page(journal, 0)
        return page[0]["head_seq"] if page else 0

    def _refresh_journal(self, journal: str) -> int:
        changed = 0
        while True:
            after = int(self.store.get(f"status:{journal}") or 0)
            page = self._page(journal, after)
            if not page:
                self._forgotten(journal)
            elif self.on_epoch is not None and self._begins_anew(str(page[0].get("epoch", ""))):
                continue
            if len(page) < 2:
                return changed
            with self.store.saving():
                spoiled = [line["seq"] for line in page[1:] if names_content(line["status"], line.get("problem"))]
                note_damaged(self.store, found_so_now(self.store, journal, spoiled))
                for line in page[1:]:
                    self.store.set_status(Dot(journal, line["seq"]), line["status"], line["position"])
                self.store.put(f"status:{journal}", str(page[0]["after"]))
            changed += len(page) - 1

    def _forgotten(self, journal: str) -> None:
        """The server does not know a journal: what it had confirmed of it, it has forgotten by being restored."""
        if self.store.receipts(journal):
            with self.store.saving():
                self.store.begin_anew(journal, 0)

    def _begins_anew(self, epoch: str) -> bool:
        """Tell of an epoch; True for another one, in which positions, and so this page, mean nothing."""
        known = self.store.get("epoch")
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        return bool(known) and self.store.get("epoch") != known

    def _page(self, journal: str, after: int) -> list[dict[str, Any]]:
        """A head line and the acts' lines; empty for a journal that the server does not know."""
        try:
            return self.link.attempt(lambda: self._request(journal, after))
        except Refused as error:
            if error.code != "not-found":
                raise
            return []

    def _request(self, journal: str, after: int) -> list[dict[str, Any]]:
        response = self.link.request("GET", STATUS_PATH, params={"journal": journal, "after": after})
        page = [decoded(line) for line in response.content.split(b"\n") if line]
        wanted = [{"head_seq", "after"}, *({"seq", "status", "position"} for _ in page[1:])]
        if not page or any(not names <= line.keys() for names, line in zip(wanted, page, strict=False)):
            raise Again("the statuses are not readable")
        return page
