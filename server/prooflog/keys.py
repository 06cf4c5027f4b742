"""The key that signs tree heads: an Ed25519 seed among the server's secrets, and its public half as a text file.

Auditors and the central system are given the public file by hand: a key that came from the server together with what
it signs would prove nothing.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.config import Settings, load_secret
from sync.checkpoints import VerifierKey

SECRET = "proof-log"  # noqa: S105 - the name of the secret, not the secret
PUBLIC_FILE = "proof-log.pub"
"""Below `settings.keys_dir`: one line, name+key id+key, as checkpoints know verifier keys."""
GENERATION_FILE = "proof-log.generation"
"""Number of the log that is signed with the key: a closed log's successor has the key under a name of its own."""
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
    name = f"fieldproof/{public.hex()[:16]}" + (f"-{generation}" if generation > 1 else "")
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
    fresh.write_text(line, "utf-8")
    fresh.chmod(PUBLIC_MODE)
    fresh.replace(path)
