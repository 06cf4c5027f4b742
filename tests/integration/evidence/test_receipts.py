"""Custody receipts, from both ends: when the server signs one, and what a handheld does with it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from flask.testing import FlaskClient

from device_sim.handheld.link import Link, Refused
from device_sim.handheld.receipts import KEEP_MS, SERVER_KEY, Receipts, UntrustedReceipt
from device_sim.handheld.store import EvidenceFile, HandheldStore
from schemas.evidence import MAX_RECEIPTS
from server.evidence.settlement import reconcile_step, sweep_step
from server.prooflog.keys import rotations
from server.prooflog.rotation import rotate_key
from server.records.models import Act
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.integration.evidence.reading import row
from tests.integration.evidence.sending import (
    ACT,
    EVIDENCE,
    PHOTO,
    SHA256,
    URL,
    Declare,
    MakeHeaders,
    Tus,
    fields_of,
    json_of,
    problem_of,
)

RECEIPT = f"{URL}/{EVIDENCE}/receipt"
NOW_MS = 1_800_000_000_000


def store_act(rt: Runtime, status: str, data: bytes = PHOTO, body: bytes | None = None) -> None:
    """Keep an evidence act of device d1 that is not applied."""
    with rt.db.write() as session:
        session.add(
            Act(
                journal="j1", seq=1, hash=ACT, kind="evidence", record=EVIDENCE, device="d1", author="o-d1",
                header=b"{}", body=body or json.dumps({"salt": "x", "fields": fields_of(data)}).encode(),
                personal=b"", received_at=rt.now(), at_ms=0, verdict=status, status=status, status_position=0,
                waiting_for=None, problem=None, receipt=b"",
            )
        )  # fmt: skip


def test_receipt_follows_the_evidence(
    client: FlaskClient, rt: Runtime, tus: Tus, device_headers: MakeHeaders, declared: Declare
) -> None:
    """A device learns how far its evidence is; the receipt needs bytes and declaration."""
    assert problem_of(client.get(RECEIPT, headers=tus.headers))[:2] == (404, "not-found")
    tus.send(PHOTO)
    waiting = {"evidence": EVIDENCE, "status": "waiting", "receipt": None}
    assert json_of(client.get(RECEIPT, headers=tus.headers)) == waiting
    declared()
    assert json_of(client.get(RECEIPT, headers=tus.headers)) == waiting
    reconcile_step(rt)
    answer = json_of(client.get(RECEIPT, headers=tus.headers))
    evidence = row(rt)
    assert answer["status"] == "verified"
    assert json.loads(answer["receipt"]["statement"]) == {
        "v": 1,
        "evidence": EVIDENCE,
        "device": "d1",
        "act": ACT,
        "sha256": evidence.sha256,
        "sm3": evidence.sm3,
        "size_bytes": len(PHOTO),
        "verified_at": rt.now().isoformat(),
        "custody_count": 3,
        "custody_head": evidence.custody_head,
    }
    assert problem_of(client.get(RECEIPT, headers=device_headers("d2")))[:2] == (404, "not-found")


def test_no_receipt_without_the_right_bytes(client: FlaskClient, tus: Tus, declared: Declare) -> None:
    """Neither a declaration alone nor other bytes get one."""
    declared()
    answer = json_of(client.get(RECEIPT, headers=tus.headers))
    assert answer == {"evidence": EVIDENCE, "status": "declared", "receipt": None}
    tus.send(b"other bytes")
    answer = json_of(client.get(RECEIPT, headers=tus.headers))
    assert answer == {"evidence": EVIDENCE, "status": "rejected", "receipt": None}


@pytest.mark.parametrize("status", ["held", "quarantined"])
def test_receipt_whatever_became_of_the_act(
    client: FlaskClient, rt: Runtime, tus: Tus, clock: FakeClock, device_headers: MakeHeaders, status: str
) -> None:
    """A stored act declares its evidence even when it is not applied, and the clean-up spares what it declares."""
    store_act(rt, status)
    tus.send(PHOTO)
    receipt = json_of(client.get(RECEIPT, headers=tus.headers))["receipt"]
    assert (receipt["act"], receipt["sha256"], receipt["custody_count"]) == (ACT, SHA256, 0)
    clock.advance(400 * 86_400)
    assert sweep_step(rt) == 0
    assert json_of(client.get(RECEIPT, headers=device_headers("d1")))["receipt"]["statement"] == receipt["statement"]


@pytest.mark.parametrize("body", [None, b"[]", b"{", b'{"fields":3}'], ids=["other", "list", "cut", "number"])
def test_stored_act_must_declare_these_bytes(client: FlaskClient, rt: Runtime, tus: Tus, body: bytes | None) -> None:
    """An act about other bytes, or one that cannot be read, declares nothing."""
    store_act(rt, "quarantined", b"other bytes", body)
    tus.send(PHOTO)
    assert json_of(client.get(RECEIPT, headers=tus.headers)) == {
        "evidence": EVIDENCE,
        "status": "waiting",
        "receipt": None,
    }


def test_several_are_asked_for_at_once(
    client: FlaskClient, rt: Runtime, tus: Tus, device_headers: MakeHeaders, declared: Declare
) -> None:
    """In their order, each as when asked for alone; what is not the device's is unknown, and there is a limit."""
    other, nobody = EVIDENCE[:-1] + "2", EVIDENCE[:-1] + "3"
    declared()
    tus.send(PHOTO)
    declared(b"late", record=other)
    alone = json_of(client.get(RECEIPT, headers=tus.headers))

    def ask(*ids: str, device: str = "d1") -> list[dict[str, Any]]:
        answer = client.post(f"{URL}/receipts", json={"evidence": list(ids)}, headers=device_headers(device))
        return list(json_of(answer)["receipts"])

    assert ask(other, EVIDENCE, nobody, EVIDENCE) == [
        {"evidence": other, "status": "declared", "receipt": None}, alone,
        {"evidence": nobody, "status": "unknown", "receipt": None}, alone,
    ]  # fmt: skip
    assert alone["receipt"] is not None
    assert [one["status"] for one in ask(EVIDENCE, other, device="d2")] == ["unknown", "unknown"]
    for wrong in ([], ["x"] * (MAX_RECEIPTS + 1), [3], None):
        answer = client.post(f"{URL}/receipts", json={"evidence": wrong}, headers=tus.headers)
        assert problem_of(answer)[:2] == (422, "invalid-field")


class DeviceLink:
    """A device's link straight into the application."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client, self.headers = client, headers
        self.change: Callable[[dict[str, str]], None] = lambda _receipt: None
        self.requests = 0

    def attempt(self, do: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
        """Once."""
        return do()

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:  # noqa: ANN401 - as httpx takes it
        """Ask the application."""
        self.requests += 1
        response = self.client.open(path, method=method, headers=self.headers, **sent)
        body = json_of(response)
        if response.status_code >= 400:
            raise Refused(response.status_code, body)
        for one in body["receipts"]:
            if one["receipt"]:
                self.change(one["receipt"])
        return httpx.Response(response.status_code, json=body)


@pytest.fixture
def handheld(tmp_path: Path) -> Iterator[HandheldStore]:
    """A handheld that has uploaded the photo."""
    store = HandheldStore(tmp_path / "handheld")
    (store.evidence_folder / "photo.jpg").write_bytes(PHOTO)
    store.keep_evidence(EvidenceFile(EVIDENCE, "photo.jpg", SHA256, len(PHOTO), "image/jpeg", "/x", len(PHOTO), 1))
    yield store
    store.close()


@pytest.fixture
def link(client: FlaskClient, tus: Tus) -> DeviceLink:
    """The link of device d1."""
    return DeviceLink(client, tus.headers)


def receipts_of(handheld: HandheldStore, link: DeviceLink) -> Receipts:
    """The handheld's receipts over a link."""
    return Receipts(handheld, cast(Link, link))


def test_copy_goes_only_under_a_receipt_and_not_at_once(
    handheld: HandheldStore, link: DeviceLink, tus: Tus, declared: Declare
) -> None:
    """Uploaded is not enough; with the receipt, the copy stays for its time and then goes, once."""
    receipts, copy = receipts_of(handheld, link), handheld.evidence_folder / "photo.jpg"
    tus.send(PHOTO)
    assert (receipts.collect(NOW_MS), receipts.delete_copies(NOW_MS + 10 * KEEP_MS)) == (0, 0)
    declared()
    tus.send(PHOTO)
    reconcile_step(tus.client.application.extensions["fieldproof"])
    assert (receipts.collect(NOW_MS), receipts.collect(NOW_MS)) == (1, 0)
    assert receipts.delete_copies(NOW_MS + KEEP_MS - 1) == 0
    assert copy.exists()
    assert (receipts.delete_copies(NOW_MS + KEEP_MS), receipts.delete_copies(NOW_MS + KEEP_MS)) == (1, 0)
    assert not copy.exists()


@pytest.mark.parametrize("fault", ["statement", "signature", "key", "other", "pinned"])
def test_untrusted_receipt_deletes_nothing(
    handheld: HandheldStore, link: DeviceLink, tus: Tus, declared: Declare, fault: str
) -> None:
    """Every bit of a receipt counts, and so does whose key it is."""
    declared()
    tus.send(PHOTO)
    if fault == "other":
        handheld.keep_evidence(EvidenceFile(EVIDENCE, "photo.jpg", "0" * 64, len(PHOTO), "image/jpeg", "/x", 9, 1))
    elif fault == "pinned":
        handheld.put(SERVER_KEY, "another/key+00000000+AAAA")
    else:

        def change(receipt: dict[str, str]) -> None:
            receipt[fault] = receipt[fault].replace(receipt[fault][12], "x" if receipt[fault][12] != "x" else "y")

        link.change = change
    with pytest.raises(UntrustedReceipt):
        receipts_of(handheld, link).collect(NOW_MS)
    assert receipts_of(handheld, link).delete_copies(NOW_MS + 10 * KEEP_MS) == 0
    assert (handheld.evidence_folder / "photo.jpg").exists()


def test_restored_server_is_asked_again(handheld: HandheldStore, link: DeviceLink, tus: Tus, declared: Declare) -> None:
    """What a restored server has forgotten is uploaded again, under a new receipt."""
    declared()
    tus.send(PHOTO)
    receipts = receipts_of(handheld, link)
    receipts.collect(NOW_MS)
    receipts.start_over()
    assert receipts.delete_copies(NOW_MS + 10 * KEEP_MS) == 0
    assert receipts.collect(NOW_MS) == 1
    receipts.start_over()
    handheld.keep_evidence(
        EvidenceFile(EVIDENCE[:-1] + "7", "photo.jpg", SHA256, len(PHOTO), "image/jpeg", "/x", len(PHOTO), 1)
    )
    receipts.collect(NOW_MS)
    (pending,) = handheld.evidence(uploaded=False)
    assert (pending.id, pending.upload, pending.offset_bytes) == (EVIDENCE[:-1] + "7", "", 0)


def test_missing_evidence_is_listed(
    client: FlaskClient, tus: Tus, declared: Declare, sign_in: MakeHeaders, device_headers: MakeHeaders,
    clock: FakeClock,
) -> None:  # fmt: skip
    """Per device and officer, with its age; what is verified, withdrawn or out of scope is not on the list."""
    device_headers("d2")
    declared()
    tus.send(PHOTO)
    declared(b"late", record=EVIDENCE[:-1] + "2")
    clock.advance(3 * 3_600)
    declared(b"later", record=EVIDENCE[:-1] + "3", device="d2")
    headers = sign_in("operator")
    found = json_of(client.get(f"{URL}/missing", headers=headers))
    assert found["total"] == 2
    assert [(each["device"], each["officer"], each["missing"]) for each in found["devices"]] == [
        ("d1", "o-d1", 1), ("d2", "o-d2", 1),
    ]  # fmt: skip
    assert [(each["id"][-1], each["age_s"]) for each in found["evidence"]] == [("2", 10_800), ("3", 0)]
    for query, expected in (("device=d2", 1), ("officer=o-d1", 1), ("older_than_hours=2", 1), ("limit=1", 2)):
        assert json_of(client.get(f"{URL}/missing?{query}", headers=headers))["total"] == expected
    elsewhere = sign_in("operator", region="4202")
    assert json_of(client.get(f"{URL}/missing", headers=elsewhere))["total"] == 0
    assert problem_of(client.get(f"{URL}/missing?limit=0", headers=headers))[:2] == (422, "invalid-field")


def test_rotated_key_is_followed(
    handheld: HandheldStore, link: DeviceLink, rt: Runtime, tus: Tus, declared: Declare
) -> None:
    """Receipts of the new key count because the old one named it, those of the old one still do, and no others."""
    receipts, copy = receipts_of(handheld, link), handheld.evidence_folder / "photo.jpg"
    declared()
    tus.send(PHOTO)
    assert receipts.collect(NOW_MS) == 1
    rotate_key(rt)
    receipts.start_over()
    notes = rotations(rt.settings)
    link.change = lambda receipt: receipt.update({"rotations": []})  # type: ignore[dict-item]  # a list in the answer
    with pytest.raises(UntrustedReceipt, match="another key"):
        receipts.collect(NOW_MS)
    link.change = lambda receipt: receipt.update({"rotations": [notes[0].replace("— ", "- ")]})  # type: ignore[dict-item]
    with pytest.raises(UntrustedReceipt, match="cannot be followed"):
        receipts.collect(NOW_MS)
    link.change = lambda _receipt: None
    assert receipts.collect(NOW_MS) == 1
    assert len(handheld.get(SERVER_KEY).splitlines()) == 2
    assert receipts.delete_copies(NOW_MS + KEEP_MS) == 1
    assert not copy.exists()
