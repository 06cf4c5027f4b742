"""The handheld as a whole: enrolment, forms and acts, evidence, and the sync of all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.handheld.clocks import ExchangeKeeper
from device_sim.handheld.door import keep_door_key
from device_sim.handheld.durable import write_durably
from device_sim.handheld.extracts import Extracts
from device_sim.handheld.forms import Form, open_form
from device_sim.handheld.journal import JournalWriter, verify_journals
from device_sim.handheld.keys import KEY, begin_change, finish_change, key_in, public_text, repeat_changes
from device_sim.handheld.link import Backoff, Link, Refused, base64url, problem_of
from device_sim.handheld.outside import Outside
from device_sim.handheld.picture import Picture, declaration, file_of
from device_sim.handheld.pull import Puller
from device_sim.handheld.push import Pusher
from device_sim.handheld.receipts import Receipts
from device_sim.handheld.rules import FieldRules
from device_sim.handheld.sharing import OFFICER, let_in, unlock
from device_sim.handheld.standing import announcement
from device_sim.handheld.statuses import StatusReader
from device_sim.handheld.store import HandheldStore
from device_sim.handheld.uploads import Uploader
from device_sim.handheld.wiping import erase, last_word, leave_last_word, say_last_word
from sync.acts import DELETE
from sync.dots import Dot
from sync.journal import Break
from sync.statements import enrol_statement, share_statement

DEVICE, EPOCH = "device", "epoch"
"""Names of single values in the store."""
KEY_BYTES, PIN_SALT_BYTES = 32, 16


class NotEnrolled(Exception):
    """This handheld has not been enrolled yet."""


class Handheld:
    """One device with its folder. Everything it has saved is there again when it is opened the next time.

    `client` reaches the server (its base URL, timeouts and transport are the caller's choice); work in the field does
    not need it. All else that comes from outside is in `outside`.
    """

    def __init__(
        self,
        folder: Path,
        client: httpx.Client,
        *,
        outside: Outside | None = None,
        backoff: Backoff | None = None,
        key: bytes | None = None,
    ) -> None:
        self.outside = outside or Outside()
        self.client = client
        self._last_word = last_word(folder)
        if self._last_word:
            erase(folder)  # it may have died in the middle of it
        self.store = HandheldStore(folder)
        self.counts: Counter[str] = Counter()
        self.boot = self.outside.new_id()
        self._exchanges = ExchangeKeeper(self.boot)
        if not self.store.get(KEY):
            self.store.put(KEY, (key or self.outside.random_bytes(32)).hex())
        self._backoff = backoff or Backoff()
        self._link: Link | None = None

    def close(self) -> None:
        """Close the store. Nothing waits in memory, so a kill instead of this loses nothing either."""
        self.store.close()

    # Identity.

    @property
    def device(self) -> str:
        """The id the server gave this device; empty before enrolment."""
        return self.store.get(DEVICE)

    @property
    def officer(self) -> str:
        """The officer who has unlocked this device; empty before enrolment."""
        return self.store.get(OFFICER)

    @property
    def public_key(self) -> str:
        """The raw Ed25519 public key in base64url."""
        return public_text(key_in(self.store))

    def enrol(self, token: str, officer: str, name: str, *, pin: str = "") -> str:
        """Ask for enrolment with a token of the officer's account; returns the device id, which must then be approved.

        May be repeated: the server knows the key, unless it was restored and has forgotten it. Raises `Refused`, or
        httpx's errors when the server is not reached.
        """
        if not self.store.get(KEY):  # it was wiped
            self.store.put(KEY, self.outside.random_bytes(KEY_BYTES).hex())
        proof = base64url(key_in(self.store).sign(enrol_statement(self.public_key, officer)))
        body = {"public_key": self.public_key, "proof": proof, "name": name}
        response = self.client.post("/api/v1/devices", json=body, headers={"Authorization": f"Bearer {token}"})
        if response.status_code != 201:
            raise Refused(response.status_code, problem_of(response))
        with self.store.saving():
            self.store.put(DEVICE, str(response.json()["device"]))
            let_in(self.store, officer, pin, self.outside.random_bytes(PIN_SALT_BYTES))
        self._link = None
        return self.device

    def join(self, token: str, officer: str, pin: str) -> None:
        """Let another officer, signed in with this token, work on the device too, and unlock it for them.

        Raises `Refused`, `Locked` for a PIN that is too short, or httpx's errors when the server is not reached.
        """
        self._finish_key_change()
        proof = base64url(key_in(self.store).sign(share_statement(self.device, officer)))
        path, headers = f"/api/v1/devices/{self.device}/officers", {"Authorization": f"Bearer {token}"}
        response = self.client.post(path, json={"proof": proof}, headers=headers)
        if response.status_code != 200:
            raise Refused(response.status_code, problem_of(response))
        let_in(self.store, officer, pin, self.outside.random_bytes(PIN_SALT_BYTES))

    def unlock(self, officer: str, pin: str) -> None:
        """Go on in another officer's name; needs no network. Raises `Locked`."""
        unlock(self.store, officer, pin)

    def change_key(self) -> None:
        """Change the device's key. What was begun and not answered goes on at the next sync.

        Raises `Refused` and `Unreachable`.
        """
        begin_change(self.store, self.device, self.outside.random_bytes(KEY_BYTES))
        self.counts["keys_changed"] += finish_change(self.store, self.link, self.device)

    # Work in the field: needs no network.

    @property
    def writer(self) -> JournalWriter:
        """Writes acts in the officer's name. Raises `NotEnrolled`."""
        if not self.officer:
            raise NotEnrolled("enrol the handheld before working with it")
        return JournalWriter(self.store, self.outside, self.officer, self.boot)

    def saving(self) -> AbstractContextManager[None]:
        """Acts written inside are saved together: one form, one save."""
        return self.store.saving()

    def open(self, kind: str, record: str) -> Form:
        """Open a record as this device knows it, its own unsynced acts included."""
        return open_form(self.store, kind, record)

    def write(self, form: Form, fields: Mapping[str, Any]) -> Dot | None:
        """Save what differs from the form as one act. Raises `ActRefused`; returns None when nothing differs."""
        return self.writer.write(form, fields)

    def record(self, form: Form, fields: Mapping[str, Any]) -> Dot | None:
        """Save what an officer enters, if the rules of the field allow it. Raises `RuleRefused` and `ActRefused`."""
        self.rules.check(form, fields)
        return self.write(form, fields)

    @property
    def rules(self) -> FieldRules:
        """The rules of the field, by the reference data of the last sync."""
        return FieldRules(self)

    def delete(self, form: Form) -> Dot | None:
        """Delete a record as seen in the form. Raises `ActRefused`."""
        return self.writer.write(form, {}, DELETE)

    def capture(self, inspection: str, picture: Picture) -> str:
        """Keep a picture as evidence of an inspection: hashed at once, file synced before the act that declares it.

        Returns the evidence id.
        """
        evidence = self.outside.new_id()
        file = file_of(evidence, picture)
        write_durably(self.store.evidence_folder / file.file_name, picture.content)
        with self.saving():
            self.store.keep_evidence(file)
            self.write(self.open("evidence", evidence), declaration(inspection, file, picture))
        return evidence

    # Sync.

    @property
    def link(self) -> Link:
        """The authorised connection. Raises `NotEnrolled`."""
        if not self.device:
            raise NotEnrolled("enrol the handheld before syncing it")
        if self._link is None:
            self._link = Link(
                self.client, self.outside, self.device, key_in(self.store).sign, self._backoff, self.counts,
                exchanges=self._exchanges, announce=self._announce,
            )  # fmt: skip
        return self._link

    def _announce(self) -> dict[str, Any]:
        acts, files = self.store.pending_count(), len(self.store.evidence(uploaded=False))
        return {"client": announcement(), "pending_acts": acts, "pending_files": files}

    def pull(self) -> int:
        """Pull this device's scope, and fetch the readings that its leads rest on; returns how many lines came."""
        count = Puller(self.store, self.link, self._saw_epoch).pull()
        keep_door_key(self.store, self.link.standing.door_key)
        self.counts["extracts_fetched"] += Extracts(self.store, self.link).fetch()
        return count

    def push(self) -> int:
        """Push the journal, under the key that counts by now; returns how many acts were confirmed."""
        self._finish_key_change()
        return self._pusher().push()

    def upload(self) -> int:
        """Upload captured evidence; returns how many files were finished."""
        return Uploader(self.store, self.link).upload()

    def collect_receipts(self) -> int:
        """Ask for the custody receipts of uploaded files; returns how many came."""
        return Receipts(self.store, self.link).collect(self.outside.wall_ms())

    def delete_copies(self) -> int:
        """Delete copies of evidence that custody receipts have covered for long enough; returns how many went."""
        return Receipts(self.store, self.link).delete_copies(self.outside.wall_ms())

    def sync(self) -> None:
        """Push, upload, pull, and take in what became of this device's acts and files.

        A device that may only hand in does no more than that; when it is to be wiped, it erases itself. A file that
        cannot be uploaded keeps nothing else waiting: its fault is raised at the end. A server that was restored to
        a time before a change of the key is told of it again.
        """
        if self._last_word:
            self._say_last_word()
            if not self.device:
                return
        try:
            self._sync()
        except Refused as refusal:
            if not repeat_changes(self.store, self.link, self.device, refusal):
                raise
            self.counts["keys_repeated"] += 1
            self._sync()

    def _sync(self) -> None:
        if self.link.standing.only_hands_in:
            self.link.attempt(self.link.sign_in)  # nothing else would tell it of an order to erase itself
        self.push()
        fault: Refused | OSError | None = None
        try:
            self.upload()
        except (Refused, OSError) as error:
            fault = error
        if self._wiped_by_order() or self._pulled_or_wiped():
            return
        self.refresh_statuses()
        if not self.link.standing.only_hands_in:
            self.collect_receipts()
        if fault is not None:
            raise fault

    def _wiped_by_order(self) -> bool:
        """Erase this handheld if the last sign-in said so; what it has is handed in by now."""
        ordered_at_ms = self.link.standing.wipe_ordered_at_ms
        if ordered_at_ms is not None:
            self.wipe(ordered_at_ms)
        return ordered_at_ms is not None

    def _pulled_or_wiped(self) -> bool:
        """Pull, if the device may; True where it is told only now, in place of an answer, to erase itself."""
        if not self.link.standing.only_hands_in:
            try:
                self.pull()
            except Refused:
                if not self._wiped_by_order():
                    raise
                return True
        return False

    def _finish_key_change(self) -> None:
        """Go on with a change of the key that was begun; one that the server does not want keeps nothing waiting."""
        try:
            finish_change(self.store, self.link, self.device)
        except Refused as refusal:
            if refusal.status == 401:
                raise
            self.counts["key_changes_refused"] += 1

    def wipe(self, ordered_at_ms: int) -> None:
        """Erase this handheld by an order of the office, and tell the server what was lost. Raises `Unreachable`."""
        leave_last_word(self.store, bytes.fromhex(self.store.get(KEY)), self.device, ordered_at_ms)
        self._last_word = last_word(self.store.folder)
        self.store.close()
        erase(self.store.folder)
        self.store = HandheldStore(self.store.folder)
        self.counts["wiped"] += 1
        self._say_last_word()

    def _say_last_word(self) -> None:
        word = self._last_word or {}
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(word["key"]))
        link = Link(self.client, self.outside, word["device"], key.sign, self._backoff, self.counts)
        say_last_word(self.store.folder, link, word, anew=bool(self.device))
        self._last_word = self._link = None

    def refresh_statuses(self) -> int:
        """Take in what became of this device's acts since their receipts; returns how many changed."""
        return StatusReader(self.store, self.link, self._saw_epoch).refresh()

    def verify(self) -> list[Break]:
        """Check the chains of all journals; empty when they hold."""
        return verify_journals(self.store)

    def _pusher(self) -> Pusher:
        return Pusher(self.store, self.link, self.writer, self._saw_epoch)

    def _saw_epoch(self, epoch: str) -> None:
        """Take note of the server's epoch. On a new one, what the restored server lost is marked to be pushed again."""
        known = self.store.get(EPOCH)
        if not epoch or epoch == known:
            return
        statuses = StatusReader(self.store, self.link)
        heads = {journal: statuses.head_seq(journal) for journal in self.store.journals()} if known else {}
        with self.store.saving():
            for journal, head_seq in heads.items():
                self.store.begin_anew(journal, head_seq)
            if known:
                Receipts(self.store, self.link).start_over()
            self.store.put(EPOCH, epoch)
        self.counts["epochs_changed"] += bool(known)
