"""Thumbnails and watermarked copies: drawn from originals that stay as they are, served in scope, redrawn at will."""

import hashlib
import io
import json

import pillow_heif
import pytest
from flask.testing import FlaskClient
from PIL import Image, ImageDraw
from sqlalchemy import select

from server.entities.models import Entity
from server.evidence import derivatives
from server.evidence.derivatives import derive_step, watermark_lines
from server.evidence.examination import inspect_step
from server.evidence.ledger import entries_of
from server.evidence.media import examiner
from server.evidence.models import Blob, Derivative, Evidence
from server.evidence.retention import destroy_step
from server.evidence.store import DirectoryStore
from server.evidence.stores import open_store
from server.officers.models import Officer
from server.records.service import office_write
from server.runtime import Runtime
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import EVIDENCE, INSPECTION, URL, Declare, MakeHeaders, Tus, problem_of

OTHER_CASE = "0190a0b0-0000-7000-8000-0000000000bb"
OTHER = EVIDENCE[:-1] + "2"
ENTITY = "0190a0b0-0000-7000-8000-0000000000e1"
OFFICERS = (
    ("0190a0b0-0000-7000-8000-0000000000f1", "李样例", "C-8"),
    ("0190a0b0-0000-7000-8000-0000000000f2", "王样例", "C-9"),
)
NO_CACHE = "private, no-cache"


def scene(size: tuple[int, int] = (900, 600), kind: str = "JPEG", **options: object) -> bytes:
    """A picture with something on it: a factory of boxes."""
    picture = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((size[0] // 8, size[1] // 3, size[0] // 2, size[1] * 9 // 10), fill="brown")
    pen.ellipse((size[0] // 2, size[1] // 30, size[0] * 9 // 10, size[1] // 2), fill="teal")
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of a scene, lying on its side as telephones save them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return scene(exif=exif)


@pytest.fixture
def case(rt: Runtime) -> None:
    """The inspection with its entity and officer."""
    with rt.db.write() as session:
        session.add_all(
            Officer(
                id=officer, name=name, certificate_number=number, certificate_valid_until=rt.now(), region="420106",
                department="330",
            )
            for officer, name, number in OFFICERS
        )  # fmt: skip
        session.add(
            Entity(
                id=ENTITY, name="样例食品厂（虚构）", nature="2", uscc="91420106SAMPLE001X", operating_address="样例路",
                registered_address="样例路", region="420106001", lat=30.5928, lon=114.3055, datum="WGS-84",
            )
        )  # fmt: skip
        session.flush()
        fields = {"entity": ENTITY, "officers": [officer for officer, _, _ in OFFICERS], "status": "open"}
        office_write(
            session, rt, "inspection", INSPECTION, fields, region="420106001", department="330", author="office"
        )


def settle(rt: Runtime) -> None:
    """Examine and draw all there is."""
    inspect_step(rt)
    derive_step(rt)


def derivative(rt: Runtime, kind: str, record: str = EVIDENCE) -> Derivative | None:
    """The row of a derivative."""
    with rt.db.read() as session:
        found = session.get(Derivative, (record, kind))
        if found is not None:
            session.expunge(found)
    return found


def picture_of(rt: Runtime, kind: str) -> Image.Image:
    """A derivative as a picture."""
    found = derivative(rt, kind)
    assert found is not None
    with open_store(rt.settings).open(found.sha256) as stream:
        content = stream.read()
    assert hashlib.sha256(content).hexdigest() == found.sha256
    return Image.open(io.BytesIO(content))


def test_copies_are_drawn_and_the_original_stays(
    rt: Runtime, tus: Tus, declared: Declare, case: None, photo: bytes
) -> None:
    """Upright, without metadata; the watermarked one has a dark band with light text."""
    declared(photo)
    tus.send(photo)
    settle(rt)
    assert derive_step(rt) == 0
    thumbnail, marked = picture_of(rt, "thumbnail"), picture_of(rt, "watermarked")
    assert thumbnail.size == (320, 480)
    assert marked.size == (600, 900)
    assert not dict(marked.getexif())
    band = marked.crop((0, 800, 600, 900)).convert("L")
    assert sum(band.histogram()[230:]) > 100  # ink
    assert sum(band.histogram()[:110]) > 0.5 * band.width * band.height
    with open_store(rt.settings).open(hashlib.sha256(photo).hexdigest()) as stream:
        assert stream.read() == photo


def test_watermark_says_what_it_is_a_copy_of(rt: Runtime, declared: Declare, case: None, photo: bytes) -> None:
    """Case, officers with certificates, time, place with the entity, hash."""
    declared(photo)
    with rt.db.read() as session:
        text = "\n".join(watermark_lines(session, session.get_one(Evidence, EVIDENCE)))
    for part in (
        INSPECTION, "李样例 C-8；王样例 C-9", "2026-03-01 10:00:00 UTC+8", "30.59280, 114.30550 (WGS-84)",
        "样例食品厂（虚构）",
        hashlib.sha256(photo).hexdigest(),
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("kind", ["PNG", "HEIF", "flat"])
def test_other_formats(rt: Runtime, tus: Tus, declared: Declare, kind: str) -> None:
    """PNG, HEIC, and a picture flatter than its own watermark."""
    pillow_heif.register_heif_opener()
    data = scene((400, 30), "PNG") if kind == "flat" else scene(kind=kind)
    declared(data)
    tus.send(data)
    settle(rt)
    marked = picture_of(rt, "watermarked")
    assert marked.format == "JPEG"
    assert marked.height > 30


@pytest.mark.parametrize("data", [b"%PDF-1.7\n%%EOF\n", scene()[:3_000]], ids=["pdf", "truncated"])
def test_what_cannot_be_drawn_is_left(
    client: FlaskClient, rt: Runtime, tus: Tus, declared: Declare, sign_in: MakeHeaders, data: bytes
) -> None:
    """No copy, no second attempt, and a clear answer."""
    declared(data)
    tus.send(data)
    settle(rt)
    assert derive_step(rt) == 0
    assert derivative(rt, "thumbnail") is None
    answer = client.get(f"{URL}/{EVIDENCE}/thumbnail", headers=sign_in("operator"))
    assert problem_of(answer)[:2] == (404, "not-found")


def test_copies_are_served_in_scope_with_entries(
    client: FlaskClient, rt: Runtime, tus: Tus, declared: Declare, sign_in: MakeHeaders, photo: bytes
) -> None:
    """Ranges and conditions work, strangers see nothing, and each access stands in the chain."""
    declared(photo)
    tus.send(photo)
    settle(rt)
    headers = sign_in("officer", region="420106", department="330")
    with client.get(f"{URL}/{EVIDENCE}/thumbnail", headers=headers) as whole:
        content, tag = whole.data, whole.headers["ETag"]
        assert (whole.status_code, whole.mimetype, whole.headers["Cache-Control"]) == (200, "image/jpeg", NO_CACHE)
    with client.get(f"{URL}/{EVIDENCE}/thumbnail", headers=headers | {"Range": "bytes=2-9"}) as part:
        assert (part.status_code, part.data) == (206, content[2:10])
    with client.get(f"{URL}/{EVIDENCE}/thumbnail", headers=headers | {"If-None-Match": tag}) as again:
        assert (again.status_code, again.data) == (304, b"")
    with client.get(f"{URL}/{EVIDENCE}/watermarked", headers=headers) as marked:
        assert marked.status_code == 200
    elsewhere = sign_in("officer", region="420107", department="330")
    for kind in ("thumbnail", "watermarked"):
        assert client.get(f"{URL}/{EVIDENCE}/{kind}", headers=elsewhere).status_code == 404
    assert actions(rt)[3:] == ["view", "view", "view", "export"]
    with rt.db.read() as session:
        details = [json.loads(entry.body)["detail"] for entry in entries_of(session, EVIDENCE)[3:]]
    assert details[1] == {"range": "bytes=2-9", "copy": "thumbnail"}
    assert details[3] == {"copy": "watermarked"}


def test_copies_are_drawn_again(
    client: FlaskClient, rt: Runtime, tus: Tus, declared: Declare, case: None, sign_in: MakeHeaders, photo: bytes
) -> None:
    """What the watermark says may change; the old copy is destroyed, the same one is kept."""
    declared(photo)
    tus.send(photo)
    settle(rt)
    first = derivative(rt, "watermarked")
    assert first is not None
    with rt.db.write() as session:
        session.get_one(Entity, ENTITY).name = "另一样例厂（虚构）"
    assert client.post(f"{URL}/{EVIDENCE}/redraw", headers=sign_in("operator")).status_code == 202
    assert derive_step(rt) == 1
    second = derivative(rt, "watermarked")
    assert second is not None
    assert second.sha256 != first.sha256
    assert destroy_step(rt) == 1
    store = open_store(rt.settings)
    assert store.size_bytes(first.sha256) is None
    assert store.size_bytes(second.sha256) == second.size_bytes
    assert destroy_step(rt) == 0


def test_store_that_refuses_is_tried_again(
    rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch, photo: bytes
) -> None:
    """A full disk draws nothing now, and all of it later."""
    declared(photo)
    tus.send(photo)
    inspect_step(rt)

    def full(*_args: object) -> bool:
        raise OSError(28, "full")

    with monkeypatch.context() as broken:
        broken.setattr(DirectoryStore, "put", full)
        assert derive_step(rt) == 0
    assert derive_step(rt) == 1


def test_record_erased_while_drawing(rt: Runtime, tus: Tus, declared: Declare, photo: bytes) -> None:
    """Copies of what was erased meanwhile are destroyed."""
    declared(photo)
    tus.send(photo)
    inspect_step(rt)
    with rt.db.write() as session:
        session.get_one(Evidence, EVIDENCE).status = "erased"
    with examiner() as child:
        made = derivatives._draw(rt, child, hashlib.sha256(photo).hexdigest(), ["样例"])
    derivatives._record(rt, EVIDENCE, made)
    assert derivative(rt, "thumbnail") is None
    assert destroy_step(rt) == len(made) == 2


def test_same_picture_in_another_case(rt: Runtime, tus: Tus, declared: Declare, photo: bytes) -> None:
    """By its bytes, and by what it shows after resizing, recompression and turning upright."""
    declared(photo)
    tus.send(photo)
    small = Image.open(io.BytesIO(photo)).resize((450, 300)).rotate(-90, expand=True)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=60)
    copies = {OTHER: photo, EVIDENCE[:-1] + "3": out.getvalue(), EVIDENCE[:-1] + "4": scene((700, 700), "PNG")}
    for record, data in copies.items():
        declared(data, record=record, inspection=OTHER_CASE)
        tus.send(data, record)
    settle(rt)
    found = {record: row(rt, record).flags for record in (EVIDENCE, *copies)}
    codes = {
        record: [flag["code"] for flag in flags if flag["code"].startswith("same")] for record, flags in found.items()
    }
    assert codes[EVIDENCE[:-1] + "3"] == ["same-picture"]
    assert codes[OTHER] == ["same-bytes"]
    flag = next(flag for flag in found[EVIDENCE[:-1] + "3"] if flag["code"] == "same-picture")
    assert (flag["evidence"], flag["inspection"]) == (EVIDENCE, INSPECTION)
    assert flag["bits"] <= 6
    with rt.db.read() as session:
        assert len(session.scalars(select(Blob.phash).where(Blob.phash.is_not(None))).all()) == 3


def test_distance_from_the_entity(rt: Runtime, tus: Tus, declared: Declare, case: None, photo: bytes) -> None:
    """A record made far from the inspected premises is flagged with the metres."""
    declared(photo, position={"lat": 30.6, "lon": 114.3055, "datum": "WGS-84"})
    tus.send(photo)
    settle(rt)
    flags = [flag for flag in row(rt).flags if flag["code"] == "far-from-entity"]
    assert flags == [{"code": "far-from-entity", "metres": 801, "source": "record"}]
