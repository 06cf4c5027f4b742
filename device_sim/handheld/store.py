"""The handheld's own database: journal, receipts, pulled records, evidence files. SQLite through sqlite-utils.

WAL with `synchronous=FULL`, so that what was said to be saved survives a power cut. Acts are never rewritten: triggers
refuse any change of their bytes (only personal parts may be erased). One connection, used by one thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import Table

from device_sim.handheld import served
from sync.acts import ActParts, erased_part, is_erased
from sync.dots import Dot
from sync.journal import Fork

FILE_NAME = "handheld.db"

_TABLES: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
    "settings": ({"name": str, "value": str}, ("name",)),
    "journals": ({"id": str, "ordinal": int, "parent_journal": str, "parent_seq": int, "parent_hash": str}, ("id",)),
    "acts": (
        {
            "journal": str, "seq": int, "hash": str, "kind": str, "record": str,
            "header": bytes, "body": bytes, "personal": bytes,
            "receipt": bytes, "status": str, "position": int, "confirmed": int, "abandoned": int,
        },
        ("journal", "seq"),
    ),
    "segments": ({"journal": str, "first": int, "last": int, "head": bytes}, ("journal",)),
    "evidence": (
        {
            "id": str, "file_name": str, "sha256": str, "size_bytes": int, "media_type": str,
            "upload": str, "offset_bytes": int, "uploaded": int,
        },
        ("id",),
    ),
}  # fmt: skip

_RULES = (
    "CREATE INDEX IF NOT EXISTS acts_of_record ON acts (record, kind)",
    "CREATE INDEX IF NOT EXISTS acts_unconfirmed ON acts (journal, seq) WHERE confirmed = 0 AND abandoned = 0",
    """CREATE TRIGGER IF NOT EXISTS acts_keep_bytes
    BEFORE UPDATE OF journal, seq, hash, kind, record, header, body ON acts
    BEGIN SELECT RAISE(ABORT, 'acts are never rewritten'); END""",
    """CREATE TRIGGER IF NOT EXISTS acts_keep_rows BEFORE DELETE ON acts
    BEGIN SELECT RAISE(ABORT, 'acts are never removed'); END""",
)

_MERGED = "('applied', 'merged', 'conflict')"
"""Statuses of acts that served states hold."""
_ACT_COLUMNS = "journal, seq, hash, header, body, personal"


@dataclass(frozen=True, slots=True)
class StoredAct:
    """An act of this device: its dot, its hash, and its bytes as they are sent."""

    dot: Dot
    hash: str
    parts: ActParts


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server's word on one act: the stored line byte for byte, and what of it the device needs."""

    dot: Dot
    act_hash: str
    verdict: str
    position: int
    line: bytes


@dataclass(frozen=True, slots=True)
class PendingSegment:
    """A segment that was begun: a retry sends the same head line and the same acts."""

    journal: str
    first: int
    last: int
    head: bytes


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """A captured file: record id, name in the evidence folder, size, and how far its upload got.

    `upload` is the path the server gave it, empty before the first creation.
    """

    id: str
    file_name: str
    sha256: str
    size_bytes: int
    media_type: str
    upload: str = ""
    offset_bytes: int = 0
    uploaded: int = 0


class HandheldStore:
    """All that a handheld keeps, in `folder`. Opening an existing folder continues where it was left."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.evidence_folder = folder / "evidence"
        self.evidence_folder.mkdir(exist_ok=True)
        self.db = Database(folder / FILE_NAME, strict=True)
        self.db.enable_wal()
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("PRAGMA secure_delete=ON")
        with self.db.atomic():
            there = set(self.db.table_names())
            for name, (columns, key) in (_TABLES | served.TABLES).items():
                if name not in there:
                    self._table(name).create(columns, pk=key if len(key) > 1 else key[0])
            if "leaf" not in self._table("records").columns_dict:
                self._table("records").add_column("leaf", str)  # made by an earlier version of this program
            for rule in (*_RULES, *served.RULES):
                self.db.execute(rule)
        self.records = served.ServedRecords(self.db)

    def close(self) -> None:
        """Close the database; whatever was saved stays."""
        self.db.close()

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Everything inside is saved together, durably at the end, or not at all. May be nested."""
        with self.db.atomic():
            yield

    def _table(self, name: str) -> Table:
        return self.db.table(name)

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - SQLite's own value types
        return list(self.db.execute(sql, values).fetchall())

    # Settings: single values such as device id, key, cursor, epoch.

    def get(self, name: str) -> str:
        """A single value; empty when it was never set."""
        rows = self._rows("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def put(self, name: str, value: str) -> None:
        """Set a single value."""
        self.db.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))

    # Journals and acts.

    def add_journal(self, journal: str, parent: Fork | None = None) -> None:
        """Begin a journal; acts are added to the newest one."""
        self._table("journals").insert(
            {
                "id": journal,
                "ordinal": self._rows("SELECT count(*) FROM journals")[0][0],
                "parent_journal": parent.journal if parent else None,
                "parent_seq": parent.seq if parent else None,
                "parent_hash": parent.hash if parent else None,
            }
        )

    def journals(self) -> list[str]:
        """All journals of this device, oldest first."""
        return [row[0] for row in self._rows("SELECT id FROM journals ORDER BY ordinal")]

    def parent_of(self, journal: str) -> Fork | None:
        """Where a journal continues another one, if it does."""
        rows = self._rows("SELECT parent_journal, parent_seq, parent_hash FROM journals WHERE id = ?", journal)
        return Fork(*rows[0]) if rows and rows[0][0] else None

    def add_act(self, act: StoredAct, kind: str, record: str) -> None:
        """Append an act. A number that exists already is refused by the primary key."""
        self.db.execute(
            """INSERT INTO acts (journal, seq, hash, kind, record, header, body, personal, confirmed, abandoned)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)""",
            (*act.dot, act.hash, kind, record, act.parts.header, act.parts.body, act.parts.personal),
        )

    def head(self, journal: str) -> tuple[int, str]:
        """Number and hash of the last act of a journal; (0, "") when it is empty."""
        rows = self._rows("SELECT seq, hash FROM acts WHERE journal = ? ORDER BY seq DESC LIMIT 1", journal)
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def confirmed_seq(self, journal: str) -> int:
        """Up to which act of a journal the server has confirmed all; 0 for none."""
        sql = "SELECT coalesce(min(seq) - 1, (SELECT coalesce(max(seq), 0) FROM acts WHERE journal = ?)) FROM acts"
        return int(self._rows(f"{sql} WHERE journal = ? AND confirmed = 0", journal, journal)[0][0])

    def acts(self, journal: str, after: int = 0, limit: int = -1) -> list[StoredAct]:
        """Acts of a journal in order, beginning after a number; all of them without a limit."""
        return self._acts("journal = ? AND seq > ? ORDER BY seq LIMIT ?", journal, after, limit)

    def unconfirmed_acts(self, journal: str, limit: int) -> list[StoredAct]:
        """Acts of a journal that the server has not confirmed, from the first such one on, without gaps."""
        unconfirmed = "SELECT min(seq) FROM acts WHERE journal = ? AND confirmed = 0 AND abandoned = 0"
        first = self._rows(unconfirmed, journal)[0][0]
        if first is None:
            return []
        return self._acts("journal = ? AND seq >= ? AND abandoned = 0 ORDER BY seq LIMIT ?", journal, first, limit)

    def uncovered_acts(self, kind: str, record: str, position: int) -> list[StoredAct]:
        """Own acts on a record that its state served at `position` does not hold yet, oldest first.

        Quarantined ones are left out, and those that people ruled on: nobody else sees them.
        """
        return self._acts(
            """kind = ? AND record = ? AND abandoned = 0
            AND coalesce(status, '') NOT IN ('quarantined', 'mended', 'dismissed')
            AND (confirmed = 0 OR status = 'held' OR position > ?) ORDER BY rowid""",
            kind, record, position,
        )  # fmt: skip

    def _acts(self, condition: str, *values: Any) -> list[StoredAct]:  # noqa: ANN401 - SQLite's own value types
        rows = self._rows(f"SELECT {_ACT_COLUMNS} FROM acts WHERE {condition}", *values)  # noqa: S608 - only constants
        return [StoredAct(Dot(journal, seq), digest, ActParts(*parts)) for journal, seq, digest, *parts in rows]

    def erase_personal(self, kind: str, record: str) -> int:
        """Destroy the personal parts of all own acts on a record, abandoned ones too; returns how many had one.

        The kind `act` stands for one act, by its dot. The names of the fields stay in their place.
        """
        wanted, values = "kind = ? AND record = ?", [kind, record]
        if kind == "act":
            wanted, values = "journal = ? AND seq = ?", record.rsplit(":", 1)
        acts = self._acts(f"{wanted} AND length(personal) > 0", *values)
        acts = [act for act in acts if not is_erased(act.parts.personal)]
        for act in acts:
            left = erased_part(json.loads(act.parts.personal)["fields"])
            self.db.execute("UPDATE acts SET personal = ? WHERE journal = ? AND seq = ?", (left, *act.dot))
        return len(acts)

    def overwrite(self) -> None:
        """Let nothing that was destroyed remain in the write-ahead log; freed pages are overwritten at once."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def abandon_acts(self, journal: str, after: int) -> None:
        """Mark acts beyond `after` as written again in another journal; their bytes stay as history."""
        self.db.execute("UPDATE acts SET abandoned = 1 WHERE journal = ? AND seq > ?", (journal, after))

    def act_counts(self) -> dict[str, int]:
        """Acts by their present status; "" for those without a receipt. Abandoned ones are not counted."""
        return dict(self._rows("SELECT coalesce(status, ''), count(*) FROM acts WHERE abandoned = 0 GROUP BY 1"))

    def pending_count(self) -> int:
        """Acts that the server has not confirmed yet."""
        return int(self._rows("SELECT count(*) FROM acts WHERE confirmed = 0 AND abandoned = 0")[0][0])

    # What the server said about acts.

    def confirm(self, receipts: Iterable[Receipt]) -> None:
        """Keep receipts. The first one of an act stays as it came; a later one only confirms the act again.

        A receipt of an act that was not merged at first has no position; what its status has told since stays.
        """
        for receipt in receipts:
            self.db.execute(
                """UPDATE acts SET confirmed = 1, receipt = coalesce(receipt, ?), status = coalesce(status, ?),
                position = coalesce(nullif(?, 0), position, 0) WHERE journal = ? AND seq = ? AND hash = ?""",
                (receipt.line, receipt.verdict, receipt.position, *receipt.dot, receipt.act_hash),
            )

    def set_status(self, dot: Dot, status: str, position: int) -> None:
        """Keep the present status of an act, and the position from which served states hold it.

        That is where it was merged; when its status rises later, it has long been in them.
        """
        self.db.execute(
            f"""UPDATE acts SET position = CASE WHEN status IN {_MERGED} AND position > 0 THEN position ELSE ? END,
            status = ? WHERE journal = ? AND seq = ?""",  # noqa: S608 - only constants
            (position, status, *dot),
        )

    def unconfirm(self, journal: str, after: int) -> None:
        """Acts after a number are to be pushed again."""
        self.db.execute("UPDATE acts SET confirmed = 0 WHERE journal = ? AND seq > ?", (journal, after))

    def begin_anew(self, journal: str, after: int) -> None:
        """The server was restored and has lost what came after a number: that is to be pushed again.

        Statuses and positions of its former life mean nothing any more, those of kept acts neither.
        """
        self.unconfirm(journal, after)
        self.db.execute("UPDATE acts SET status = NULL, position = 0 WHERE journal = ?", (journal,))
        self.put(f"status:{journal}", "0")

    def receipts(self, journal: str) -> list[bytes]:
        """The kept receipts of a journal in order, byte for byte."""
        sql = "SELECT receipt FROM acts WHERE journal = ? AND receipt IS NOT NULL ORDER BY seq"
        return [row[0] for row in self._rows(sql, journal)]

    def keep_segment(self, segment: PendingSegment) -> None:
        """Remember a segment before it is sent for the first time."""
        row = (segment.journal, segment.first, segment.last, segment.head)
        self.db.execute("INSERT OR REPLACE INTO segments (journal, first, last, head) VALUES (?, ?, ?, ?)", row)

    def pending_segment(self, journal: str) -> PendingSegment | None:
        """The segment of a journal that was begun and not answered yet."""
        rows = self._rows("SELECT journal, first, last, head FROM segments WHERE journal = ?", journal)
        return PendingSegment(*rows[0]) if rows else None

    def drop_segment(self, journal: str) -> None:
        """Forget a segment that was answered."""
        self.db.execute("DELETE FROM segments WHERE journal = ?", (journal,))

    # Records.

    def ids(self, kind: str) -> list[str]:
        """Ids of all records of a kind, in order: those served, and those only written here.

        What has left this device's scope is shown as long as acts on it wait for the server, and no longer.
        """
        sql = """SELECT id FROM records WHERE kind = ? UNION SELECT record FROM acts WHERE kind = ? AND abandoned = 0
        AND (confirmed = 0 OR NOT EXISTS (SELECT 1 FROM departed WHERE departed.kind = acts.kind AND id = record))"""
        return [row[0] for row in self._rows(sql + " ORDER BY 1", kind, kind)]

    # Evidence files.

    def keep_evidence(self, evidence: EvidenceFile) -> None:
        """Keep a captured file, or how far its upload has got."""
        names = list(EvidenceFile.__dataclass_fields__)
        sql = f"INSERT OR REPLACE INTO evidence ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        self.db.execute(sql, [getattr(evidence, name) for name in names])

    def evidence(self, *, uploaded: bool | None = None) -> list[EvidenceFile]:
        """Captured files in order of id, either all or by whether their upload is finished."""
        condition = "" if uploaded is None else f"WHERE uploaded = {int(uploaded)}"
        columns = ", ".join(EvidenceFile.__dataclass_fields__)
        rows = self._rows(f"SELECT {columns} FROM evidence {condition} ORDER BY id")  # noqa: S608 - only constants
        return [EvidenceFile(*row) for row in rows]
