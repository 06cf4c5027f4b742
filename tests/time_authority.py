"""A time-stamping authority for tests: `openssl ts -reply` behind a small HTTP server on a free port of 127.0.0.1."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.prooflog.timestamps import MEDIA_TYPE_REPLY

CONFIGURATION = """
[tsa]
default_tsa = sample
[sample]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = no
ess_cert_id_alg = sha256
"""


@dataclass
class TimeAuthority:
    """A running authority: where it answers, and the root that those who trust it are given."""

    url: str
    roots: Path
    broken: bool = False
    """Whether it answers with nonsense."""
    asked: int = 0


def _certificate(name: str, key: rsa.RSAPrivateKey, issuer: str, by: rsa.RSAPrivateKey, *, root: bool) -> bytes:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3650))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if root:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        made = made.add_extension(usage, critical=True)
    else:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@contextmanager
def time_authority(folder: Path) -> Iterator[TimeAuthority]:
    """Run an authority with keys of its own below `folder`; skips the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("needs Debian's openssl")
    root, signer = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    (folder / "root.pem").write_bytes(_certificate("sample root", root, "sample root", root, root=True))
    (folder / "signer.pem").write_bytes(_certificate("sample authority", signer, "sample root", root, root=False))
    (folder / "signer.key").write_bytes(
        signer.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "serial").write_text("01\n")
    (folder / "tsa.conf").write_text(CONFIGURATION.format(folder=folder))
    authority = TimeAuthority("", folder / "root.pem")
    taking_turns = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            with taking_turns:
                authority.asked += 1
                answer = b"no" if authority.broken else _reply(folder, query)
            self.send_response(200)
            self.send_header("Content-Type", MEDIA_TYPE_REPLY)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        authority.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield authority
        finally:
            server.shutdown()
            thread.join()


def _reply(folder: Path, query: bytes) -> bytes:
    (folder / "query.tsq").write_bytes(query)
    command = ["openssl", "ts", "-reply", "-config", f"{folder}/tsa.conf", "-queryfile", f"{folder}/query.tsq"]
    command += ["-signer", f"{folder}/signer.pem", "-inkey", f"{folder}/signer.key", "-out", f"{folder}/reply.tsr"]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "reply.tsr").read_bytes()
