"""What handhelds read over HTTP: bad input, ranges of the snapshot, compression, and who may ask."""

import gzip
import json
from typing import Any

import pytest
import zstandard
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from server.fieldsync import reconcile, snapshots
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import FieldDevice, World, body, lines, make_world

PULL, SNAPSHOT, DIGEST, LINES = (f"/api/v1/sync/{name}" for name in ("pull", "snapshot", "digest", "lines"))


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform with some entities."""
    made = make_world(rt)
    with rt.db.write() as session:
        place = Placement("420106", "")
        office_write_many(
            session, rt, [OfficeChange("entity", rt.new_id(), {"name": f"样例 {n}"}, "test", place) for n in range(70)]
        )
    return made


@pytest.fixture
def device(rt: Runtime, world: World) -> FieldDevice:
    """The first officer's device."""
    return FieldDevice(rt, world.officers[0])


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        (PULL, {"limit": "0"}, "invalid-field"),
        (PULL, {"limit": "many"}, "invalid-field"),
        (PULL, {"cursor": "x" * 5_000}, "invalid-field"),
        (PULL, {"cursor": "x"}, "stale-cursor"),
        (DIGEST, {"range": "G"}, "invalid-field"),
        (DIGEST, {"range": "0" * 65}, "invalid-field"),
        (DIGEST, {"range": "0\n"}, "invalid-field"),
        (DIGEST, {"cursor": "x" * 5_000}, "invalid-field"),
    ],
)
def test_bad_questions_are_refused(
    client: FlaskClient, device: FieldDevice, path: str, query: dict[str, str], code: str
) -> None:
    """Each with a problem that names the field."""
    answer = client.get(path, query_string=query, headers=device.headers)
    assert (body(answer)["code"], 400 <= answer.status_code < 500) == (code, True)
    assert body(answer)["field"] in query


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"records": []},
        {"records": [{"kind": "entity"}]},
        {"records": [{"kind": "entity", "id": "x"}]},
        {"records": [{"kind": "entity", "id": "0198d9c0-4c00-7000-8000-0000000000a1"}] * (reconcile.MAX_RECORDS + 1)},
        {"records": "all"},
    ],
)
def test_bad_lists_of_records_are_refused(client: FlaskClient, device: FieldDevice, wanted: dict[str, object]) -> None:
    """Nothing is looked up for them."""
    answer = client.post(LINES, json=wanted, headers=device.headers)
    assert (answer.status_code, body(answer)["code"]) == (422, "invalid-field")


def test_lines_are_given_only_within_the_scope(
    client: FlaskClient, device: FieldDevice, world: World, rt: Runtime
) -> None:
    """What the scope does not see, or what does not exist, comes as having left; nothing of it is told."""
    with rt.db.write() as session:
        hidden = rt.new_id()
        place = Placement("420106", "market", (world.officers[1],))
        office_write_many(session, rt, [OfficeChange("task", hidden, {"title": "x"}, "test", place)])
    wanted = [("task", world.task), ("task", hidden), ("entity", rt.new_id()), ("no-kind", rt.new_id())]
    answer = client.post(
        LINES, json={"records": [{"kind": kind, "id": one} for kind, one in wanted]}, headers=device.headers
    )
    found = {(line["kind"], line["id"]): line for line in lines(answer)}
    assert set(found) == set(wanted)
    assert [sorted(found[key]) == ["id", "kind", "left", "position"] for key in wanted] == [False, True, True, True]


def test_a_range_is_divided_or_listed(client: FlaskClient, device: FieldDevice) -> None:
    """Large ranges are divided, small ones listed, and everything lies in exactly one of them."""

    def ask(**query: str) -> dict[str, Any]:
        answer = client.get(DIGEST, query_string=query, headers=device.headers)
        assert answer.status_code == 200, answer.text
        return body(answer)

    whole, top = ask(), ask(range="")
    assert "pairs" not in top
    assert whole["behind"] is True
    ranges = top["ranges"]
    assert isinstance(ranges, dict)
    listed = [ask(range=prefix) for prefix in ranges]
    assert sum(len(one["pairs"]) for one in listed) == whole["count"]
    assert ask(cursor=str(whole["cursor"]))["behind"] is False
    assert ask(range="f" * 64)["pairs"] == []


def test_ranges_of_a_snapshot(client: FlaskClient, device: FieldDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest after a cut; everything when the tag is another file's; a problem beyond the end."""

    def ask(headers: dict[str, str], asking: FieldDevice = device) -> tuple[int, bytes, Headers]:
        with client.get(SNAPSHOT, headers=asking.headers | headers) as answer:
            return answer.status_code, answer.data, answer.headers

    def part(first: int, if_range: str) -> tuple[int, bytes]:
        return ask({"Range": f"bytes={first}-", "If-Range": if_range})[:2]

    assert ask({})[0] == 204
    monkeypatch.setattr(snapshots, "MIN_RECORDS", 50)
    status, whole, headers = ask({})
    tag = headers["ETag"]
    assert (status, headers["Content-Type"], headers["Accept-Ranges"]) == (200, "application/gzip", "bytes")
    assert gzip.decompress(whole).startswith(b"SQLite format 3\0")
    assert part(1_000, tag) == (206, whole[1_000:])
    assert part(1_000, '"another"') == (200, whole)
    beyond, problem = part(len(whole), tag)
    assert (beyond, json.loads(problem)["code"]) == (416, "range-not-satisfiable")
    assert ask({"If-None-Match": tag})[:2] == (304, b"")
    assert ask({}, FieldDevice(device.rt, device.officer, 7))[1] == whole


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_streams_are_compressed_on_request(client: FlaskClient, device: FieldDevice, coding: str) -> None:
    """The same lines, smaller; caches are told that the answer depends on the request."""
    plain = client.get(PULL, headers=device.headers)
    packed = client.get(PULL, headers=device.headers | {"Accept-Encoding": coding})
    assert "Content-Encoding" not in plain.headers
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == (coding, "Accept-Encoding")
    decoded = (
        gzip.decompress(packed.data)
        if coding == "gzip"
        else zstandard.ZstdDecompressor().decompressobj().decompress(packed.data)
    )
    records = [json.loads(line) for line in decoded.splitlines() if b'"kind"' in line]
    assert records == [line for line in lines(plain) if "kind" in line]
    assert len(packed.data) < len(plain.data) / 3


@pytest.mark.parametrize("path", [PULL, SNAPSHOT, DIGEST, LINES])
def test_only_devices_ask(client: FlaskClient, device: FieldDevice, sign_in: SignIn, path: str) -> None:
    """Not without a token, not the office, and no revoked device."""
    ask = client.post if path == LINES else client.get
    assert ask(path).status_code == 401
    assert ask(path, headers=sign_in("operator")).status_code == 403
    headers, operator = device.headers, sign_in("operator")
    assert client.post(f"/api/v1/devices/{device.id}/revoke", headers=operator, json={}).status_code < 300
    assert ask(path, headers=headers).status_code in (401, 403)
