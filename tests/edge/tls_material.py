"""Certificates for handshakes in tests: an authority made once per process, and a source that signs what it is told."""

from __future__ import annotations

import datetime
import hashlib
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdn.edge.tls_source import CertificateMaterial

_PEM = serialization.Encoding.PEM


@cache
def authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A root that signs what follows."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _sign("the tests' authority", (), key, None), key


def root_pem() -> bytes:
    """The root as a file for clients."""
    return authority()[0].public_bytes(_PEM)


def write_root(folder: Path) -> Path:
    """The same, written there."""
    path = folder / "root.pem"
    path.write_bytes(root_pem())
    return path


@cache
def certificate_for(*names: str) -> CertificateMaterial:
    """A leaf for these names and its key."""
    root, root_key = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _sign("leaf", names, key, (root, root_key))
    return CertificateMaterial(
        leaf.public_bytes(_PEM),
        key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _sign(
    common_name: str,
    names: tuple[str, ...],
    key: ec.EllipticCurvePrivateKey,
    by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if by is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by[1].public_key()), critical=False
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(by[1] if by else key, hashes.SHA256())


class SignedSource:
    """A TlsSource that has a certificate for each name it was told of. "" leads to `default` where there is one."""

    def __init__(self, *names: str, default: str | None = None) -> None:
        self.names = set(names)
        self.default = default
        self.answers: dict[str, bytes] = {}
        self.opened: list[str] = []
        self.lost: set[str] = set()
        self.generation = ""
        """Changed: every name has another certificate."""

    def certificate_id(self, server_name: str) -> str | None:
        name = server_name or self.default
        if name is None:
            return None
        if name not in self.names:
            name = "*." + name.partition(".")[2]
        return f"{self.generation}/{name}" if name in self.names else None

    def material(self, certificate_id: str) -> CertificateMaterial | None:
        self.opened.append(certificate_id)
        name = certificate_id.rpartition("/")[2]
        return None if name in self.lost else certificate_for(name)

    def alpn_answer(self, server_name: str) -> bytes | None:
        return self.answers.get(server_name)


def digest(text: str) -> bytes:
    """32 octets."""
    return hashlib.sha256(text.encode()).digest()
