"""The key that signs tree heads: an Ed25519 seed among the server's secrets, and its public half as a text file.

Auditors and the central system are given the public file by hand: a key that came from the server together with what
it signs would prove nothing.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.config import Settings, load_secret, promote_secret
from sync.checkpoints import VerifierKey
from sync.key_rotation import read_rotation, rotation_note

SECRET = "proof-log"  # noqa: S105 - the name of the secret, not the secret
PUBLIC_FILE = "proof-log.pub"
"""Below `settings.keys_dir`: one line, name+key id+key, as checkpoints know verifier keys."""
GENERATION_FILE = "proof-log.generation"
"""Number of the log that is signed with the key: a closed log's successor has the key under a name of its own."""
ROTATIONS_FILE = "proof-log.rotations"
"""Below `settings.keys_dir`: a JSON list of the notes by which each key followed the one before it."""
FORMER_FILE = "proof-log.former.pub"
"""Below `settings.keys_dir`: the verifier keys that were replaced, one a line, for what they signed."""
SUCCESSOR = "proof-log.next"
"""Name of the secret of a key that is about to follow."""
PUBLIC_MODE = 0o644


@dataclass(frozen=True)
class SigningKey:
    """The log's key pair under the name it signs with."""

    private: Ed25519PrivateKey
    verifier: VerifierKey

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature."""
        return self.private.sign(message)


def load_key(settings: Settings) -> SigningKey:
    """Return the log's key, made at the first call and safe against several programs making it at once.

    The secret file has mode 0600 and is linked into place whole. The public file is written again when it is missing
    or says something else, so that losing it costs nothing.

    Raises:
        ValueError: the secret file is damaged. It is never replaced: heads signed with it are out in the world.
    """
    key = _key(settings, _generation(settings))
    _publish(settings.keys_dir / PUBLIC_FILE, key.verifier.encode() + "\n")
    return key


def next_key(settings: Settings) -> SigningKey:
    """Return the key under the name that a successor of the log will have."""
    return _key(settings, _generation(settings) + 1)


def rotations(settings: Settings) -> list[str]:
    """Return the notes by which keys were replaced, oldest first; see :mod:`sync.key_rotation`."""
    path = settings.keys_dir / ROTATIONS_FILE
    return list(json.loads(path.read_text("utf-8"))) if path.exists() else []


def former_keys(settings: Settings) -> list[VerifierKey]:
    """Return the keys that were replaced, oldest first, under the log's present name."""
    name = load_key(settings).verifier.name
    pairs = [read_rotation(note, verify_signature) for note in rotations(settings)]
    return [VerifierKey(name, old.public_key) for old, _ in pairs]


def key_waits(settings: Settings) -> bool:
    """Tell whether a rotation was begun and did not get to its end."""
    return (settings.keys_dir / f"{SUCCESSOR}.secret").exists()


def replace_key(settings: Settings) -> SigningKey:
    """Put a fresh key in the place of the present one, which signs for it and is gone; the log keeps its name.

    Interrupted anywhere, the next call ends what was begun. Nothing may sign with the key meanwhile.
    """
    key = load_key(settings)
    fresh = Ed25519PrivateKey.from_private_bytes(load_secret(settings, SUCCESSOR))
    verifier = VerifierKey(key.verifier.name, fresh.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    note = rotation_note(key.verifier, verifier, key.sign, fresh.sign)
    known = rotations(settings)
    if note not in known:
        _publish(settings.keys_dir / ROTATIONS_FILE, json.dumps([*known, note], ensure_ascii=False, indent=1) + "\n")
    former = (f"{one.encode()}\n" for one in former_keys(settings))
    _publish(settings.keys_dir / FORMER_FILE, "".join(former))
    promote_secret(settings, SECRET, SUCCESSOR)
    return load_key(settings)


def promote_next_key(settings: Settings) -> SigningKey:
    """Sign under the next name from here on."""
    _publish(settings.keys_dir / GENERATION_FILE, f"{_generation(settings) + 1}\n")
    return load_key(settings)


def _generation(settings: Settings) -> int:
    path = settings.keys_dir / GENERATION_FILE
    return int(path.read_text("utf-8")) if path.exists() else 1


def _key(settings: Settings, generation: int) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(load_secret(settings, SECRET))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    notes = rotations(settings)
    first = read_rotation(notes[0], verify_signature)[0].public_key if notes else public  # the log is named after it
    name = f"fieldproof/{first.hex()[:16]}" + (f"-{generation}" if generation > 1 else "")
    return SigningKey(private, VerifierKey(name, public))


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an Ed25519 signature is right; the form that `sync.checkpoints` asks for."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _publish(path: Path, line: str) -> None:
    if path.exists() and path.read_text("utf-8") == line:
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with fresh.open("w", encoding="utf-8") as out:
        out.write(line)
        out.flush()
        os.fsync(out.fileno())
    fresh.chmod(PUBLIC_MODE)
    fresh.replace(path)
