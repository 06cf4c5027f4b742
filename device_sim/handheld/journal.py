"""Writing acts into the handheld's journal, checking the whole chain, and writing acts again after a fork."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from marshmallow import Schema, ValidationError

from device_sim.handheld.forms import Form, policies_of, state_of_record
from device_sim.handheld.outside import Outside
from device_sim.handheld.store import HandheldStore, StoredAct
from schemas.kinds import KINDS, Writer, personal_fields
from schemas.kinds.field_work import UNSIGNED_FIELDS
from sync.acts import PUT, ActError, Header, encode_act, encode_fields, parse_header, split_line
from sync.dots import Dot, parse_dot
from sync.journal import Break, Fork, chain_breaks
from sync.policies import NAMED_REMOVAL
from sync.signing import covered, signed_digest

SALT_BYTES = 16
ACTS_PER_CHECK = 1_000


class ActRefused(ValueError):
    """The handheld does not take an act that the server would quarantine; `field` names the offending one."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@cache
def _schema(kind: str) -> Schema:
    return KINDS[kind].schema()


class JournalWriter:
    """Appends acts to the newest journal of a store, for one officer. `boot` names this run of the device."""

    def __init__(self, store: HandheldStore, outside: Outside, officer: str, boot: str) -> None:
        self.store, self.outside, self.officer, self.boot = store, outside, officer, boot

    def current(self) -> str:
        """The journal that acts are added to; begun when there is none."""
        journals = self.store.journals()
        if journals:
            return journals[-1]
        journal = self.outside.new_id()
        self.store.add_journal(journal)
        return journal

    def write(self, form: Form, fields: Mapping[str, Any], op: str = PUT) -> Dot | None:
        """Append one act with the fields that differ from the form; None when nothing differs.

        Saved durably on return, or with the surrounding `store.saving()`. Raises `ActRefused` for an unknown kind or
        field, one the office keeps, a wrong value, or something past a limit of the protocol.
        """
        changed = form.changed(fields)
        if op == PUT and not changed:
            return None
        _check(form.kind, changed)
        with self.store.saving():
            return self._append(form.kind, form.record, op, form.seen, changed)

    def _append(self, kind: str, record: str, op: str, seen: frozenset[Dot], fields: Mapping[str, Any]) -> Dot:
        personal_names = personal_fields(KINDS[kind].schema)
        ordinary = {name: value for name, value in fields.items() if name not in personal_names}
        personal = {name: value for name, value in fields.items() if name in personal_names}
        header = Header(
            journal="", seq=0, prev="", kind=kind, record=record, op=op, seen=seen, schema=KINDS[kind].version,
            wall_ms=self.outside.wall_ms(), mono_ms=self.outside.mono_ms(), boot=self.boot, officer=self.officer,
            body="", personal=None,
        )  # fmt: skip
        body = encode_fields(self._salt(), ordinary)
        rename = self._leave_continued(seen, record)
        if rename is not None:
            header, body = replace(header, seen=rename.dots(header)), rename.body(header, body)
        return self._chain(header, body, encode_fields(self._salt(), personal) if personal else b"")

    def _chain(self, header: Header, body: bytes, personal: bytes) -> Dot:
        """Give an act its number and its predecessor's hash, check it as the server would, and store it."""
        journal = self.current()
        last, prev = self.store.head(journal)
        parts = encode_act(replace(header, journal=journal, seq=last + 1, prev=prev), body, personal)
        try:
            split_line(parts.line())
            parse_header(json.loads(parts.header))
        except ActError as error:
            raise ActRefused(error.field, str(error)) from error
        dot = Dot(journal, last + 1)
        self.store.add_act(StoredAct(dot, parts.hash(), parts), header.kind, header.record)
        return dot

    def _leave_continued(self, seen: frozenset[Dot], record: str) -> _Rename | None:
        """Begin another journal if an officer has seen acts of this one that this device does not know.

        It was restored from a backup and has pulled what it wrote since then; those numbers are taken. Returns the
        new names of what had to be written again, None when there is nothing to leave.
        """
        journal = self.current()
        last, _ = self.store.head(journal)
        if not any(dot.journal == journal and dot.seq > last for dot in seen):
            return None
        return self._move(journal, self.store.confirmed_seq(journal), record)

    def _salt(self) -> str:
        return base64.urlsafe_b64encode(self.outside.random_bytes(SALT_BYTES)).rstrip(b"=").decode()

    def rejournal(self, journal: str, common: int) -> str:
        """Write this device's acts beyond `common` again under a new journal that names its parent; returns its id.

        The server has other acts under their numbers: this device was restored from a backup. Contents, salts and times
        stay; dots that name rewritten acts are translated.
        """
        return self._move(journal, common).fresh

    def _move(self, journal: str, common: int, form: str = "") -> _Rename:
        """As `rejournal`; `form` is the record of a form that is being written. Returns the new names."""
        with self.store.saving():
            rewritten = self.store.acts(journal, common)
            rename = _Rename(self.store, journal, common, self.outside.new_id(), form)
            common_hash = next((act.hash for act in self.store.acts(journal, common - 1, 1)), "") if common else ""
            self.store.abandon_acts(journal, common)
            self.store.drop_segment(journal)
            self.store.add_journal(rename.fresh, Fork(journal, common, common_hash) if common else None)
            for act in rewritten:
                header = parse_header(json.loads(act.parts.header))
                body = rename.body(header, act.parts.body)
                self._chain(replace(header, seen=rename.dots(header)), body, act.parts.personal)
        return rename


class _Rename:
    """New names for the dots of acts that are written again after a fork.

    Signatures and removals name dots inside the body; a signature's digest covers them, so it is taken again where it
    still held. Records are looked at as they were before the fork.
    """

    def __init__(self, store: HandheldStore, journal: str, common: int, fresh: str, form: str = "") -> None:
        self.journal, self.common, self.fresh = journal, common, fresh
        headers = [parse_header(json.loads(act.parts.header)) for act in store.acts(journal, common)]
        self._rewritten = {header.dot: header.record for header in headers}
        signed = {header.record for header in headers if header.kind == "inspection"}
        self._states = {record: state_of_record(store, "inspection", record) for record in {form, *signed} - {""}}

    def dot(self, dot: Dot, record: str) -> Dot:
        """The name that a dot seen on a record has from now on.

        A dot of the server's own act under the same number keeps its name; it lies on another record.
        """
        return Dot(self.fresh, dot.seq - self.common) if self._rewritten.get(dot) == record else dot

    def dots(self, header: Header) -> frozenset[Dot]:
        """What an act had seen, by the new names."""
        return frozenset(self.dot(dot, header.record) for dot in header.seen)

    def body(self, header: Header, body: bytes) -> bytes:
        """The body with the dots in its signatures and removals renamed; untouched when there are none."""
        if self.journal.encode() not in body:
            return body
        members = json.loads(body)
        policies = policies_of(header.kind)
        for name, value in members["fields"].items():
            if name in policies and policies[name].rule in NAMED_REMOVAL:
                value["remove"] = [str(self.dot(parse_dot(dot), header.record)) for dot in value.get("remove", [])]
                if name == "signatures":
                    value["add"] = [self._signature(header.record, one) for one in value.get("add", [])]
        return encode_fields(members["salt"], members["fields"])

    def _signature(self, record: str, signature: dict[str, Any]) -> dict[str, Any]:
        dots = [parse_dot(dot) for dot in signature["dots"]]
        named = frozenset(dots)
        pairs = [pair for pair in covered(self._states[record], UNSIGNED_FIELDS) if pair[1] in named]
        renamed = signature | {"dots": [str(self.dot(dot, record)) for dot in dots]}
        if signed_digest(pairs) == signature["digest"]:
            renamed["digest"] = signed_digest((field, self.dot(dot, record)) for field, dot in pairs)
        return renamed


def _check(kind: str, fields: Mapping[str, Any]) -> None:
    if kind not in KINDS or KINDS[kind].writer is Writer.OFFICE:
        raise ActRefused("kind", f"{kind} is not written by handhelds")
    try:
        _schema(kind).load(dict(fields))
    except ValidationError as error:
        field = next(iter(error.messages), "fields") if isinstance(error.messages, dict) else "fields"
        raise ActRefused(str(field), str(error)) from error


def verify_journals(store: HandheldStore) -> list[Break]:
    """Check the chain and the commitments of every journal; empty when all of them hold."""
    found: list[Break] = []
    for journal in store.journals():
        after, prev = 0, ""
        while acts := store.acts(journal, after, ACTS_PER_CHECK):
            found += chain_breaks((act.parts for act in acts), json.loads, journal=journal, first=after + 1, prev=prev)
            found += [Break(act.dot.seq, "bytes do not match the kept hash") for act in acts if not _intact(act)]
            after, prev = acts[-1].dot.seq, acts[-1].parts.hash()
    return found


def _intact(act: StoredAct) -> bool:
    try:
        rebuilt = encode_act(parse_header(json.loads(act.parts.header)), act.parts.body, act.parts.personal)
    except (ActError, ValueError):
        return False
    return rebuilt.header == act.parts.header and act.parts.hash() == act.hash
