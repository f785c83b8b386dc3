"""Chains for tests: authorities and certificates of any kind, also of kinds that nobody should sign."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

NOW = 1_790_000_000.0

DAY_S = 86_400.0

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Signed:
    """A certificate, its key, and those above it."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        """Alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def chain(self) -> str:
        """With those above it, but for the root."""
        each = (self.certificate, *(one for one in self.above if one.issuer != one.subject))
        return "".join(one.public_bytes(serialization.Encoding.PEM).decode("ascii") for one in each)


@dataclass
class Wish:
    """What a certificate is to say."""

    names: tuple[str, ...] = ()
    others: tuple[x509.GeneralName, ...] = ()
    common_name: str = ""
    is_authority: bool = False
    extensions: tuple[x509.ExtensionType, ...] = ()
    not_before: float = NOW - DAY_S
    not_after: float = NOW + 89 * DAY_S
    key: Key = field(default_factory=new_key)


def signed(wish: Wish, by: Signed | None = None) -> Signed:
    """By an authority, or by itself."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(wish.common_name) if wish.common_name else x509.Name([]))
        .issuer_name(named(wish.common_name) if by is None else by.certificate.subject)
        .public_key(wish.key.public_key())
        .serial_number(int.from_bytes(os.urandom(8), "big") | 1)
        .not_valid_before(datetime.fromtimestamp(wish.not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(wish.not_after, UTC))
        .add_extension(x509.BasicConstraints(ca=wish.is_authority, path_length=None), critical=True)
    )
    if names := [*map(x509.DNSName, wish.names), *wish.others]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not wish.common_name)
    for extension in wish.extensions:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(wish.key if by is None else by.key, hashes.SHA256())
    return Signed(certificate, wish.key, () if by is None else (by.certificate, *by.above))


def authority(common_name: str, by: Signed | None = None) -> Signed:
    """A root, or one below another."""
    return signed(Wish(common_name=common_name, is_authority=True), by)


def openssl(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What the command says, whichever way it ends."""
    return subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, check=False)
