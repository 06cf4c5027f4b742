"""Following a log's key over rotations: only notes that both keys have signed lead on."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.prooflog.keys import verify_signature
from sync import key_rotation
from sync.checkpoints import CheckpointError, VerifierKey
from sync.key_rotation import follow, read_rotation, rotation_note

PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(4)]
KEYS = [VerifierKey("sample/log", one.public_key().public_bytes_raw()) for one in PRIVATE]


def note(old: int, new: int) -> str:
    """The note by which one sample key follows another."""
    return rotation_note(KEYS[old], KEYS[new], PRIVATE[old].sign, PRIVATE[new].sign)


NOTES = [note(0, 1), note(1, 2), note(2, 3)]


@pytest.mark.parametrize("known", range(4))
def test_whoever_knows_a_key_comes_to_the_present_one(known: int) -> None:
    """From wherever one begins; a stranger's key leads nowhere."""
    assert follow(KEYS[known], NOTES, verify_signature) == KEYS[known + 1 :]
    stranger = VerifierKey("sample/log", PRIVATE[0].sign(b"x")[:32])
    assert follow(stranger, NOTES, verify_signature) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (NOTES[0].replace("-log-key-", "-log-kex-"), "not a rotation"),
        (NOTES[0].replace(KEYS[1].encode(), KEYS[2].encode()), "does not verify"),
        (rotation_note(KEYS[0], KEYS[1], PRIVATE[2].sign, PRIVATE[1].sign), "does not verify"),
        (rotation_note(KEYS[0], KEYS[1], PRIVATE[0].sign, PRIVATE[2].sign), "does not verify"),
        (NOTES[0][: NOTES[0].rindex("—")], "two signatures"),
        (NOTES[0] + "— sample/log AAAA\n", "two signatures"),
        (NOTES[0].replace("— sample/log ", "— sample/other ", 1), "is not of the key"),
        (NOTES[0][:-3] + "?=\n", "not base64"),
        (NOTES[0].replace("sample/log+", "sample/log-"), "name+id+key"),
    ],
)
def test_changed_note_leads_nowhere(changed: str, named: str) -> None:
    """Each fault has its reason; neither key alone makes a note."""
    with pytest.raises(CheckpointError) as refused:
        read_rotation(changed, verify_signature)
    assert named in str(refused.value)


def test_rotations_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is led on for ever."""
    monkeypatch.setattr(key_rotation, "MAX_ROTATIONS", 2)
    with pytest.raises(CheckpointError):
        follow(KEYS[0], NOTES, verify_signature)
