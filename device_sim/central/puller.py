"""Pulling: page after page, each checked against signed heads and saved whole with the cursor behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from marshmallow import ValidationError

from device_sim.central.link import CentralLink
from device_sim.central.proving import NotTrusted, check_growth, check_head, commitment_of, faults_of
from device_sim.central.store import CentralStore, StoredBehavior
from device_sim.central.succession import check_successor, key_chain, key_of
from device_sim.central.witness import Witness
from device_sim.handheld.link import Refused
from schemas.exchange import MAX_PAGE_LINES, FeedLineSchema, PageHeadSchema
from sync.checkpoints import VerifierKey, parse_verifier_key
from sync.merkle import leaf_hash

MAX_FINDINGS_SHOWN = 20


@dataclass(frozen=True)
class Page:
    """What one page brought: lines, whether the head covers more, and how many leaves the server has yet to append."""

    lines: int
    more: bool
    waiting: int


@dataclass(frozen=True)
class Result:
    """What the central system can say in the end; `ok` only if everything it has is proved and nothing is missing."""

    pulled: int
    missed: int
    duplicated: int
    proofs_verified: int
    digest_central: str
    digest_server: str
    heads_checked: int
    restarts: int
    retries: int
    findings: list[str]
    ok: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return asdict(self)


class Puller:
    """One central system: its connection, its store, and the public key it was given by hand.

    Later keys are followed from that one, as long as each was signed for by the one before it. `load_key` is called
    when the first head is to be checked: a log that has no leaf yet may have no key either.
    """

    def __init__(
        self,
        link: CentralLink,
        store: CentralStore,
        load_key: Callable[[], VerifierKey],
        witness: Witness | None = None,
    ) -> None:
        self.witness = witness
        self.link = link
        self.store = store
        self._load_key = load_key
        self._key: VerifierKey | None = None
        self._closed = False
        self._page_schema = PageHeadSchema()
        self._line_schema = FeedLineSchema()

    def pull_once(self, tell: Callable[[int], None]) -> Page:
        """Pull everything that is signed now; `tell(lines)` hears of each page that brought something.

        Returns the last page. Raises `NotTrusted` when the log cannot be believed, `Refused` and `Unreachable` as the
        link does.
        """
        while True:
            page = self.pull_page()
            if page.lines:
                tell(page.lines)
            if not page.more:
                return page

    def pull_until(self, enough: Callable[[], bool], pause: Callable[[], None], tell: Callable[[int], None]) -> None:
        """Pull again and again, with `pause()` between, until `enough()` held before a round that left nothing behind.

        Nothing is left when the server has nothing waiting for the log either. Raises as `pull_once`.
        """
        while True:
            last_round = enough()
            if self.pull_once(tell).waiting == 0 and last_round:
                return
            pause()

    def pull_page(self) -> Page:
        """Pull, check and save one page. A cursor that the server has retired starts the feed again."""
        try:
            answer = self.link.page(self.store.get("cursor"), MAX_PAGE_LINES)
        except Refused as refusal:
            if refusal.code != "stale-cursor":
                raise
            self._start_again()
            return Page(0, more=True, waiting=0)
        try:
            page = self._page_schema.load(answer[0])
            lines = [self._line_schema.load(line) for line in answer[1:]]
        except ValidationError as error:
            raise NotTrusted(f"the page is not what the protocol says: {error.messages}") from error
        head = page["head"]
        if head is None and lines:
            raise NotTrusted("behaviors came without a signed head")
        checked = head is None or self._check(head)
        with self.store.saving():
            if head is not None and not checked:
                self._trust()
                self.store.keep_head(**{name: head[name] for name in ("size", "root", "at_ms", "key_id", "signature")})
            self._take(lines, head)
            self.store.put("cursor", page["cursor"])
            self.store.put("position", page["position"])
        if self.witness is not None and head is not None and not checked:
            self.link.cosign(self.witness.cosign(head, self.link.outside.wall_ms() // 1000))
        return Page(len(lines), page["more"], page["waiting"])

    def result(self) -> Result:
        """Compare with the server's digest at one's own position, and say how it stands."""
        server = self.link.digest(self.store.number("position"))
        found = self._standing()
        missed = max(0, int(server["count"]) - found.pulled)
        same = found.digest_central == server["digest"]
        whole = missed == 0 and found.duplicated == 0 and found.proofs_verified == found.pulled
        return replace(
            found, missed=missed, digest_server=str(server["digest"]), ok=same and whole and not found.findings
        )

    def distrusted(self, reason: NotTrusted) -> Result:
        """Say how it stands when the log cannot be believed: the server is not asked any more."""
        self.store.note(str(reason))
        return self._standing()

    def _standing(self) -> Result:
        generation = self.store.number("generation")
        pulled, proved = self.store.counts(generation)
        return Result(
            pulled=pulled,
            missed=0,
            duplicated=self.store.number("duplicated"),
            proofs_verified=proved,
            digest_central=self.store.digest(generation).hex(),
            digest_server="",
            heads_checked=self.store.head_count(),
            restarts=generation,
            retries=self.link.retries,
            findings=self.store.findings()[:MAX_FINDINGS_SHOWN],
            ok=False,
        )

    def _start_again(self) -> None:
        with self.store.saving():
            self.store.put("generation", self.store.number("generation") + 1)
            self.store.put("cursor", "")
            self.store.put("position", 0)

    def _check(self, head: Mapping[str, Any]) -> bool:
        """Check a head; returns whether it is the one that was checked last."""
        size, root = self.store.newest_head()
        if (head["size"], head["root"]) == (size, root):
            return True
        if self._key is None or key_of(head, [self._key]) != self._key:
            given = self._load_key()  # another one may have been handed over since
            self._key = given if key_of(head, [given]) == given else self._followed(given, head)
        check_head(head, self._key)
        trusted = self.store.get("verifier")
        if trusted and parse_verifier_key(trusted).name != self._key.name:
            leaf, proof = self.link.first_leaf(head["size"])
            keys = key_chain(parse_verifier_key(trusted), self.link.rotations())
            check_successor((size, root), keys, head, leaf, proof)
            self._closed = True
        elif size:
            path = self.link.consistency(size, head["size"]) if head["size"] > size else []
            check_growth(size, root, head, path)
        return False

    def _followed(self, given: VerifierKey, head: Mapping[str, Any]) -> VerifierKey:
        """Return the key of a head if notes lead to it from the one that was handed over, else the latter."""
        return key_of(head, key_chain(given, self.link.rotations())) or given

    def _trust(self) -> None:
        """Remember whose heads are kept; those of a closed log give way to its successor's."""
        if self._closed:
            self.store.forget_heads()
            self._closed = False
        if self._key is not None:
            self.store.put("verifier", self._key.encode())

    def _take(self, lines: Sequence[Mapping[str, Any]], head: Mapping[str, Any] | None) -> None:
        """Check and keep the lines of a page, inside the page's transaction."""
        generation, last = self.store.number("generation"), self.store.number("position")
        refs = [(line["id"], line["version"]) for line in lines]
        known = self.store.known([*refs, *((found, version - 1) for found, version in refs if version > 1)])
        fresh: list[StoredBehavior] = []
        for ref, line in zip(refs, lines, strict=True):
            faults = faults_of(line, head) if head is not None else []
            hashed = leaf_hash(line["leaf"].encode())
            if line["position"] <= last:
                faults.append("it came out of order")
            last = max(last, line["position"])
            before = known.get((line["id"], line["version"] - 1))
            if commitment_of(line["leaf"]).get("previous") != (before[1].hex() if before else None):
                faults.append("it does not continue the version before it")
            if ref in known and known[ref][1] != hashed:
                faults.append("it came before with another leaf")
            for fault in faults:
                self.store.note(f"behavior {line['id']} version {line['version']}: {fault}")
            if ref in known and known[ref][0] == generation:
                self.store.put("duplicated", self.store.number("duplicated") + 1)
                continue
            known[ref] = (generation, hashed)
            kept = {name: line[name] for name in _KEPT}
            fresh.append(StoredBehavior(**kept, generation=generation, leaf_hash=hashed, proved=not faults))
        self.store.keep(fresh)


_KEPT = (
    "id", "version", "position", "operation", "batch", "at_ms", "region", "department", "leaf", "content", "personal",
)  # fmt: skip
