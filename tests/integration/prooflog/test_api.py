"""The proof log over HTTP."""

import base64

import pytest
from flask.testing import FlaskClient

from schemas.proof_log import ConsistencySchema, HeadSchema, InclusionSchema, KeySchema, LeafSchema
from server.prooflog.keys import load_key, verify_signature
from server.runtime import Runtime
from sync.checkpoints import Checkpoint, open_checkpoint, parse_verifier_key
from sync.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.conftest import SignIn
from tests.integration.prooflog.growing import grow, leaf_text

BASE = "/api/v1/proof-log"
VIEWS = ("head", "heads", "checkpoint", "inclusion?index=0&size=1", "consistency?first=0&second=1", "leaves/0", "key")


@pytest.mark.parametrize("view", VIEWS)
def test_who_may_read(rt: Runtime, client: FlaskClient, sign_in: SignIn, view: str) -> None:
    """The office and the central system may read everything; officers may not, and nobody without a token."""
    grow(rt, 1)
    for role in ("admin", "operator", "auditor", "central"):
        assert client.get(f"{BASE}/{view}", headers=sign_in(role)).status_code == 200
    assert client.get(f"{BASE}/{view}", headers=sign_in("officer")).status_code == 403
    assert client.get(f"{BASE}/{view}").status_code == 401


def test_an_outsider_can_check_everything(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """From the answers and the public key alone: the head is signed, the leaf is in, and the log only grew."""
    grow(rt, 3, 4)
    headers = sign_in("auditor")

    def get(path: str) -> dict[str, object]:
        response = client.get(f"{BASE}/{path}", headers=headers)
        assert response.status_code == 200
        body = response.get_json()
        assert isinstance(body, dict)
        return body

    key = load_key(rt.settings).verifier
    first, head = (HeadSchema().load(row) for row in client.get(f"{BASE}/heads", headers=headers).get_json()["heads"])
    assert head == HeadSchema().load(get("head"))
    body = Checkpoint(head["origin"], head["size"], bytes.fromhex(head["root"]), head["at_ms"]).body()
    assert verify_signature(key.public_key, base64.urlsafe_b64decode(head["signature"] + "=="), body)
    leaf = LeafSchema().load(get("leaves/5"))
    assert leaf["leaf"].encode() == leaf_text(5)
    proof = InclusionSchema().load(get("inclusion?index=5&size=7"))
    hashed = leaf_hash(leaf["leaf"].encode())
    assert proof["leaf_hash"] == leaf["leaf_hash"] == hashed.hex()
    path = [bytes.fromhex(step) for step in proof["path"]]
    assert verify_inclusion(hashed, 5, 7, path, bytes.fromhex(head["root"]))
    growth = ConsistencySchema().load(get("consistency?first=3&second=7"))
    path = [bytes.fromhex(step) for step in growth["path"]]
    assert verify_consistency(3, 7, bytes.fromhex(first["root"]), bytes.fromhex(head["root"]), path)


def test_checkpoint_opens_with_the_published_key(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """The text form is a signed note under the key that the key view shows."""
    grow(rt, 4)
    headers = sign_in("auditor")
    shown = KeySchema().load(client.get(f"{BASE}/key", headers=headers).get_json())
    key = parse_verifier_key(shown["verifier"])
    assert base64.urlsafe_b64decode(shown["public_key"] + "=") == key.public_key
    assert (shown["name"], shown["key_id"]) == (key.name, key.key_id().hex())
    response = client.get(f"{BASE}/checkpoint", headers=headers)
    assert response.mimetype == "text/plain"
    assert open_checkpoint(response.data, [key], verify_signature).size == 4


def test_heads_are_paged(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """`after` and `limit` walk through the heads."""
    grow(rt, 1, 1, 1, 1)
    headers = sign_in("auditor")
    page = client.get(f"{BASE}/heads?after=1&limit=2", headers=headers).get_json()["heads"]
    assert [head["size"] for head in page] == [2, 3]


def test_before_the_first_head(client: FlaskClient, sign_in: SignIn) -> None:
    """A log that has not begun has no head and no leaf, and an empty list of heads."""
    headers = sign_in("auditor")
    for view in ("head", "checkpoint", "leaves/0"):
        response = client.get(f"{BASE}/{view}", headers=headers)
        assert (response.status_code, response.get_json()["code"]) == (404, "not-found")
    assert client.get(f"{BASE}/heads", headers=headers).get_json() == {"heads": []}


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("inclusion?index=3&size=3", 422, "index"),
        ("inclusion?index=0&size=4", 422, "size"),
        ("inclusion?index=-1&size=3", 422, "index"),
        ("inclusion?index=x&size=3", 422, "index"),
        ("inclusion?size=3", 422, "index"),
        ("inclusion?index=0&size=3&more=1", 422, "more"),
        ("inclusion?index=99999999999999999999999&size=3", 422, "index"),
        ("consistency?first=2&second=1", 422, "first"),
        ("consistency?first=0&second=9", 422, "second"),
        ("heads?limit=0", 422, "limit"),
        ("heads?after=99999999999999999999999", 422, "after"),
        ("leaves/3", 404, "index"),
        ("leaves/99999999999999999999999", 404, "index"),
    ],
)
def test_bad_questions(rt: Runtime, client: FlaskClient, sign_in: SignIn, query: str, status: int, field: str) -> None:
    """What the log does not have is refused naming the field."""
    grow(rt, 3)
    response = client.get(f"{BASE}/{query}", headers=sign_in("auditor"))
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["field"] == field
