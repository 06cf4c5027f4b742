"""Peers are sent the same records, believed only when they say that all are stored, and read by their own protocols."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from device_sim.bench import peer_install
from device_sim.bench.frame import BenchFailed
from device_sim.bench.light_client import Answer, LightClient
from device_sim.bench.peers import Kinto, Peer, PouchDbServer, Record

RECORDS = [Record("a", {"n": 1}), Record("b", {"n": 2})]


def answer(body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(200, headers or {}, json.dumps(body).encode())


class Canned(LightClient):
    """A client that answers from a list and remembers what was asked."""

    def __init__(self, *answers: Answer) -> None:
        """Take the answers in order."""
        self.answers, self.asked = list(answers), list[str]()

    def send(self, _method: str, path: str, *_: object) -> Answer:
        """Give the next answer."""
        self.asked.append(path)
        return self.answers.pop(0)


def test_pouchdb_gets_documents_and_their_revisions() -> None:
    """New ones by our ids; changed ones whole, with the revision that it gave."""
    peer = PouchDbServer("", 0)
    request = peer.inserts(RECORDS)
    assert json.loads(request.body) == {"docs": [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]}
    peer.accept(request, answer([{"ok": True, "id": "a", "rev": "1-x"}, {"ok": True, "id": "b", "rev": "1-y"}]))
    changed: dict[str, Any] = json.loads(peer.updates(RECORDS, {"n": 3}).body)
    assert changed["docs"][1] == {"_id": "b", "_rev": "1-y", "n": 3}
    with pytest.raises(BenchFailed, match="not all"):
        peer.accept(request, answer([{"ok": True, "id": "a", "rev": "1-x"}, {"error": "conflict"}]))


def test_kinto_gets_batches_that_may_be_repeated() -> None:
    """Creations by name and partial changes; two writers at one timestamp are asked to try again."""
    peer = Kinto("", 0)
    request = peer.inserts(RECORDS)
    first = json.loads(request.body)["requests"][0]
    assert first == {"method": "PUT", "path": f"{peer.records}/a", "body": {"data": {"n": 1}}}
    assert json.loads(peer.updates(RECORDS, {"n": 3}).body)["requests"][1]["method"] == "PATCH"
    peer.accept(request, answer({"responses": [{"status": 201}, {"status": 200}]}))
    clash = Answer(200, {}, b'{"responses":[{"status":201},{"status":409}]}')
    assert peer.must_repeat(clash)
    assert not peer.must_repeat(answer({"responses": []}))
    with pytest.raises(BenchFailed, match="not all of 2"):
        peer.accept(request, clash)


def test_pouchdb_is_read_by_its_changes_feed() -> None:
    """From the last sequence on; a full page has more behind it."""
    client = Canned(
        answer({"results": [{"id": "a"}, {"id": "b"}], "last_seq": 7}), answer({"results": [], "last_seq": 7})
    )
    peer: Peer = PouchDbServer("", 0)
    page = peer.read(client, "", 2)
    assert (page.ids, page.after, page.more) == (["a", "b"], "7", True)
    assert not peer.read(client, page.after, 2).more
    assert [path.rpartition("since=")[2] for path in client.asked] == ["0", "7"]


def test_kinto_is_read_by_pages_and_then_by_what_changed_since() -> None:
    """Its own link leads to the next page; after the last one, the newest timestamp seen."""
    peer = Kinto("", 0)
    further = {"Next-Page": f"http://kinto.example{peer.records}?_token=t"}
    client = Canned(
        answer({"data": [{"id": "a", "last_modified": 5}]}, further),
        answer({"data": [{"id": "b", "last_modified": 9}]}),
        answer({"data": []}, {"ETag": '"9"'}),
    )
    first = peer.read(client, "", 1)
    second = peer.read(client, first.after, 1)
    assert (first.more, second.more, second.after) == (True, False, "9")
    assert peer.read(client, second.after, 1).after == "9"
    assert client.asked[1] == f"{peer.records}?_token=t"
    assert client.asked[2].endswith("&_since=9")


def test_an_installation_is_made_once_and_anew_when_it_was_cut_short(tmp_path: Path) -> None:
    """The mark is written last and names what is in the folder."""
    made: list[Path] = []

    def fail(_: Path) -> None:
        raise BenchFailed("no network")

    def once(wanted: str, action: Any = made.append) -> Path:  # noqa: ANN401 - any installation
        return peer_install._once(tmp_path / "peer", (wanted,), action)

    with pytest.raises(BenchFailed):
        once("peer==1", fail)
    assert once("peer==1") == once("peer==1") == tmp_path / "peer"
    assert len(made) == 1
    once("peer==2")
    assert len(made) == 2


def test_peers_are_kept_apart_from_the_platform() -> None:
    """Below the home that is named, else in the user's cache."""
    named = peer_install.cache_folder({"FIELDPROOF_HOME": "/srv/fieldproof"})
    assert named == Path("/srv/fieldproof/peers")
    assert peer_install.cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/fieldproof/peers")


def test_a_failed_installation_says_why(tmp_path: Path) -> None:
    """With the end of what the installer said."""
    with pytest.raises(BenchFailed, match="failed: .*no such thing"):
        peer_install._run(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path)
