"""Pushing the journal: whole signed segments, sent again byte for byte until the receipts are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from device_sim.handheld.damaged import DAMAGED, is_whole, names_content, note_damaged, noted_damaged
from device_sim.handheld.journal import JournalWriter
from device_sim.handheld.link import Again, Link, Refused, base64url, decoded
from device_sim.handheld.store import HandheldStore, PendingSegment, Receipt, StoredAct
from sync.dots import Dot
from sync.journal import MAX_SEGMENT_ACTS, MAX_SEGMENT_BYTES, SEGMENT_TYPE, SegmentHead

PUSH_PATH = "/api/v1/sync/push"
PENDING_HEADER = "Fieldproof-Pending"
SEGMENT_ACTS = 200
SEGMENT_BYTES = 1024 * 1024
"""A segment is lost whole when its connection is cut, so it is kept far below what the protocol allows."""
MAX_FORKS = 200
"""Refusals for a fork in one push, each a step back, before giving up: more means that two devices share one key."""

if SEGMENT_ACTS > MAX_SEGMENT_ACTS or SEGMENT_BYTES > MAX_SEGMENT_BYTES:  # pragma: no cover - a programming error
    raise AssertionError("segments of this handheld are larger than the protocol allows")


class Pusher:
    """Pushes what the server has not confirmed. `on_epoch` is told the server's epoch found in each reply."""

    def __init__(
        self, store: HandheldStore, link: Link, writer: JournalWriter, on_epoch: Callable[[str], None]
    ) -> None:
        self.store, self.link, self.writer, self.on_epoch = store, link, writer, on_epoch
        self.segment_acts, self.segment_bytes = SEGMENT_ACTS, SEGMENT_BYTES

    def push(self) -> int:
        """Push everything unconfirmed, oldest journal first; returns how many acts were confirmed.

        Raises `Refused` when the server does not take the device's requests (revoked, bad frame) and `Unreachable`.
        """
        confirmed = 0
        forks = 0
        parents: set[str] = set()
        while True:
            journal = next((one for one in self.store.journals() if self.store.unconfirmed_acts(one, 1)), None)
            if journal is None:
                self._send_again()
                return confirmed
            segment, acts = self._segment(journal)
            try:
                confirmed += self._send(segment, acts)
            except Refused as error:
                parent = self._forgotten_parent(segment, error)
                if parent is not None and parent not in parents:
                    parents.add(parent)
                    continue
                if error.code != "journal-fork" or forks >= MAX_FORKS:
                    raise
                forks += 1
                common = self._last_common(segment, error)
                if common is not None:
                    self.link.counts["forks"] += 1
                    self.writer.rejournal(journal, common)

    def _send_again(self) -> None:
        """Send acts again, once, whose content did not arrive as it was written."""
        for dot in noted_damaged(self.store):
            acts = self.store.acts(dot.journal, dot.seq - 1, 1)
            if acts and is_whole(acts[0].parts):
                body = self._signed(acts) + acts[0].parts.line()
                try:
                    # mypy infers no types for a lambda's defaults, which bind what this turn of the loop sends.
                    self.link.attempt(lambda body=body, acts=acts: self._post(body, acts))  # type: ignore[misc]
                except Refused as error:
                    if error.code != "journal-fork":
                        raise
        self.store.put(DAMAGED, "")

    def _segment(self, journal: str) -> tuple[PendingSegment, list[StoredAct]]:
        """The segment that was begun before, or a new one that is remembered before it is sent."""
        begun = self.store.pending_segment(journal)
        if begun is not None:
            acts = self.store.acts(journal, begun.first - 1, begun.last - begun.first + 1)
            return begun, acts
        acts = self._within_limits(self.store.unconfirmed_acts(journal, self.segment_acts))
        segment = PendingSegment(journal, acts[0].dot.seq, acts[-1].dot.seq, self._signed(acts))
        self.store.keep_segment(segment)
        return segment, acts

    def _signed(self, acts: list[StoredAct]) -> bytes:
        """The head line of a segment of these acts."""
        journal, outside = acts[0].dot.journal, self.writer.outside
        head = SegmentHead(
            journal=journal, first=acts[0].dot.seq, last=acts[-1].dot.seq, head=acts[-1].hash, boot=self.writer.boot,
            wall_ms=outside.wall_ms(), mono_ms=outside.mono_ms(), parent=self.store.parent_of(journal),
        )  # fmt: skip
        return replace(head, signature=base64url(self.link.sign(head.statement()))).line()

    def _within_limits(self, acts: list[StoredAct]) -> list[StoredAct]:
        size_bytes = 0
        for count, act in enumerate(acts):
            size_bytes += len(act.parts.line())
            if size_bytes > self.segment_bytes and count:
                return acts[:count]
        return acts

    def _send(self, segment: PendingSegment, acts: list[StoredAct]) -> int:
        body = segment.head + b"".join(act.parts.line() for act in acts)
        epoch, receipts = self.link.attempt(lambda: self._post(body, acts))
        with self.store.saving():
            self.store.confirm(receipts)
            self.store.drop_segment(segment.journal)
            spoiled = [one for one in receipts if names_content(one.verdict, decoded(one.line).get("problem"))]
            note_damaged(self.store, (one.dot for one in spoiled))
        self.link.counts["segments"] += 1
        self.on_epoch(epoch)
        return len(receipts)

    def _post(self, body: bytes, acts: list[StoredAct]) -> tuple[str, list[Receipt]]:
        """One attempt; a reply that does not answer these very acts counts as spoiled on the way."""
        self.link.counts["push_requests"] += 1
        self.link.counts["push_bytes"] += len(body)
        left = max(0, self.store.pending_count() - len(acts)), len(self.store.evidence(uploaded=False))
        headers = {"Content-Type": SEGMENT_TYPE, PENDING_HEADER: f"{left[0]} {left[1]}"}
        self.link.ready()  # the sign-in tells the server's time, which goes along
        if self.link.exchanges is not None:
            headers |= self.link.exchanges.headers()
        response = self.link.request("POST", PUSH_PATH, content=body, headers=headers)
        if not response.content.endswith(b"\n"):
            raise Again("the reply was cut")
        first, *lines = response.content.removesuffix(b"\n").split(b"\n")
        receipts = [receipt_of(line) for line in lines]
        if [(receipt.dot, receipt.act_hash) for receipt in receipts] != [(act.dot, act.hash) for act in acts]:
            raise Again("the receipts are not for these acts")
        return str(decoded(first).get("epoch", "")), receipts

    def _forgotten_parent(self, segment: PendingSegment, refusal: Refused) -> str | None:
        """The parent of a segment's journal, if a restored server has lost it: its acts are pushed again before."""
        parent = self.store.parent_of(segment.journal)
        if parent is None or not str(refusal.problem.get("field")).startswith("parent."):
            return None
        with self.store.saving():
            self.store.drop_segment(segment.journal)
            self.store.begin_anew(parent.journal, 0)
        return parent.journal

    def _last_common(self, segment: PendingSegment, refusal: Refused) -> int | None:
        """The last act that both sides have, or None when older acts must be pushed again to find it.

        The server compares a segment with what it has: at the first difference inside it the named act is exact, but
        when already the act before the segment differs, it knows no more than that. The device then steps back.
        """
        named = refusal.problem.get("last_common_seq")
        common = named if isinstance(named, int) and named >= 0 else 0
        if common >= segment.first - 1:
            return common
        with self.store.saving():
            self.store.drop_segment(segment.journal)
            self.store.unconfirm(segment.journal, max(0, segment.first - 1 - self.segment_acts))
        return None


def receipt_of(line: bytes) -> Receipt:
    """A receipt from its line. Raises `Again` when it is none."""
    members = decoded(line)
    try:
        dot = Dot(str(members["journal"]), int(members["seq"]))
        return Receipt(dot, str(members["act"]), str(members["verdict"]), int(members["position"]), line)
    except (KeyError, TypeError, ValueError) as error:
        raise Again("a line of the reply is no receipt") from error
