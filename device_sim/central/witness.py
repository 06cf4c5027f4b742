"""The central system as a witness: it signs each head that it has checked, so that nobody can be shown another past."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.checkpoints import Checkpoint, Signature, WitnessKey, cosign_checkpoint

KEY_MODE = 0o600


@dataclass(frozen=True)
class Witness:
    """A witness's key pair."""

    private: Ed25519PrivateKey
    key: WitnessKey

    @classmethod
    def load(cls, path: Path, name: str) -> Witness:
        """Read the key, made at the first call; the public line lies beside it, for `keys/witnesses.txt`.

        Raises:
            ValueError: the file holds no key.
        """
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_MODE)
            with os.fdopen(descriptor, "w") as out:
                out.write(Ed25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text("utf-8").strip()))
        key = WitnessKey(name, private.public_key().public_bytes_raw())
        path.with_suffix(".pub").write_text(key.encode() + "\n", "utf-8")
        return cls(private, key)

    def cosign(self, head: Mapping[str, Any], at_s: int) -> bytes:
        """Return a checked head (`schemas.proof_log.HeadSchema`) as a checkpoint under the witness's line."""
        body = Checkpoint(head["origin"], head["size"], bytes.fromhex(head["root"]), head["at_ms"]).body()
        log = Signature(
            head["origin"], bytes.fromhex(head["key_id"]), base64.urlsafe_b64decode(head["signature"] + "==")
        )
        return body + b"\n" + log.line() + cosign_checkpoint(body, self.key, at_s, self.private.sign).line()
