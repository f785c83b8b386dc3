"""Certificates of many domains by one authority, as files for every server that is measured."""

from __future__ import annotations

import datetime
import hashlib
import os
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = datetime.timedelta(days=90)


def domain_of(number: int) -> str:
    """The domains of the bench, the most visited first."""
    return f"www.site-{number}.example"


def zipf(domains: int, count: int, seed: int) -> Iterator[str]:
    """`count` visits: the n-th most visited domain gets a share of 1/n."""
    yield from map(domain_of, zipf_ranks(domains, count, seed))


def zipf_ranks(kinds: int, count: int, seed: int) -> list[int]:
    """`count` choices among `kinds`, the n-th (from 0) with a share of 1/(n + 1)."""
    weights = list(accumulate(1 / (rank + 1) for rank in range(kinds)))
    return random.Random(seed).choices(range(kinds), cum_weights=weights, k=count)


class Authority:
    """A root and one intermediate that signs, as with authorities of the web: a chain has two certificates."""

    def __init__(self) -> None:
        root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench root")])
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench intermediate")])
        self._now = datetime.datetime.now(datetime.UTC)
        intermediate = (
            self._begun(self._name, root, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        self._intermediate = intermediate.public_bytes(serialization.Encoding.PEM)

    def certificate(self, name: str) -> tuple[bytes, bytes, str]:
        """The chain and the key in PEM form, and the SHA-256 of the first certificate in hex."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._begun(x509.Name([]), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM) + self._intermediate
        pem_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return chain, pem_key, hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest()

    def _begun(self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - datetime.timedelta(hours=1))
            .not_valid_after(self._now + LIFETIME)
        )


def write_certificates(folder: Path, domains: int) -> Path:
    """`DOMAIN.pem` (chain) and `DOMAIN.key` of every domain, and `digests`: lines DOMAIN SHA-256."""
    folder.mkdir(parents=True)
    authority = Authority()
    with (folder / "digests").open("w") as digests:
        for number in range(domains):
            name = domain_of(number)
            chain, key, digest = authority.certificate(name)
            (folder / f"{name}.pem").write_bytes(chain)
            with os.fdopen(os.open(folder / f"{name}.key", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(key)
            digests.write(f"{name} {digest}\n")
    return folder
