"""An authority of one's own, for a developer's machine: it signs whatever it is asked for.

Its root is made once. Who trusts it trusts it for every name, so its key stays in a file that its owner alone may read,
and nothing but `cdn up` uses it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cdn.errors import InvalidInput
from cdn.tls.issuer import Issued, IssueOutcome, IssueRefused, IssueRequest, RenewalWindow, Solver

DEVELOPMENT = "development"

ROOT_LIFE = timedelta(days=3650)
"""Trusting a root is a nuisance: once in the life of a machine is enough."""

LIFE = timedelta(days=90)
"""As the public authorities' certificates, so that renewal is seen to work."""

BACKDATED = timedelta(hours=1)
"""Clients whose clock is a little behind are not refused."""

_PEM = serialization.Encoding.PEM


class DevelopmentAuthority:
    """See `Issuer`. Challenges are not needed: it believes whoever holds its key."""

    def __init__(
        self, root: x509.Certificate, key: ec.EllipticCurvePrivateKey, root_file: Path, clock: Callable[[], float]
    ) -> None:
        """Made by `open`. `clock` is wall time."""
        self._root = root
        self._key = key
        self._clock = clock
        self.root_file = root_file
        """The root's certificate in PEM form: what a browser is told to trust."""

    @classmethod
    def open(cls, folder: Path, clock: Callable[[], float]) -> DevelopmentAuthority:
        """The authority kept in a folder, made there when there is none: `root.pem`, and `root.key` for its owner only.

        Raises InvalidInput when they cannot be read or written, or do not belong together.
        """
        certificate_file, key_file = folder / "root.pem", folder / "root.key"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _alone(folder):
                if not (certificate_file.exists() and key_file.exists()):
                    _make_root(certificate_file, key_file, clock())
                root = x509.load_pem_x509_certificate(certificate_file.read_bytes())
                key = serialization.load_pem_private_key(key_file.read_bytes(), None)
                mode = key_file.stat().st_mode
        except OSError as exc:
            raise InvalidInput(f"the development authority in {folder} cannot be used: {exc.strerror}") from exc
        except (ValueError, TypeError) as exc:
            raise InvalidInput(
                f"the development authority in {folder} is damaged: remove root.pem and root.key there, a new one is "
                "made, and has to be trusted anew"
            ) from exc
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidInput(
                f"{key_file} may be read by others, and whoever has it can pretend to be any site to who trusts "
                f"{certificate_file}: run `chmod 600 {key_file}`, or remove both if others may have read it"
            )
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != root.public_key():
            raise InvalidInput(f"{key_file} is not the key of {certificate_file}: remove both, new ones are made")
        if root.not_valid_after_utc <= datetime.fromtimestamp(clock(), UTC) + LIFE:
            raise InvalidInput(
                f"the root in {certificate_file} ends on {root.not_valid_after_utc:%Y-%m-%d}: remove root.pem and "
                "root.key, a new one is made, and has to be trusted anew"
            )
        return cls(root, key, certificate_file, clock)

    @property
    def name(self) -> str:
        """See `Issuer.name`."""
        return DEVELOPMENT

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        """See `Issuer.issue`."""
        try:
            wanted = x509.load_der_x509_csr(request.csr)
            is_signed = wanted.is_signature_valid
        except (ValueError, InvalidSignature):
            is_signed = False
        if not is_signed:
            return IssueRefused("the request is no certificate request that its key has signed")
        leaf = self._signed(request.names, wanted)
        chain = leaf.public_bytes(_PEM) + self._root.public_bytes(_PEM)
        return Issued(chain.decode("ascii"))

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        """See `Issuer.renewal_window`: it does not say."""
        return None

    async def revoke(self, chain: str, reason: int) -> str | None:
        """See `Issuer.revoke`."""
        return "the development authority keeps no list of what it has revoked: remove the certificate instead"

    async def aclose(self) -> None:
        """See `Issuer.aclose`."""

    def _signed(self, names: tuple[str, ...], wanted: x509.CertificateSigningRequest) -> x509.Certificate:
        begins = datetime.fromtimestamp(self._clock(), UTC) - BACKDATED
        public_key = wanted.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + LIFE)
            # The subject is empty, so the names are critical (RFC 5280 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def how_to_trust(root_file: Path) -> tuple[str, ...]:
    """What a developer runs so that browsers and commands believe the root, line by line."""
    return (
        f"curl             curl --cacert {root_file} https://...",
        f"Debian, Ubuntu   sudo cp {root_file} /usr/local/share/ca-certificates/cdn-development.crt && "
        "sudo update-ca-certificates",
        f"Fedora, RHEL     sudo trust anchor {root_file}",
        f"macOS            sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain {root_file}",
        f"Windows          certutil -addstore -f Root {root_file}",
        f"Chrome, Linux    certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n cdn-development -i {root_file}",
        "Firefox          Settings, Privacy & Security, View Certificates, Authorities, Import",
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes that begin together make one root, not the key of one and the certificate of the other."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_root(certificate_file: Path, key_file: Path, now: float) -> None:
    """The key first: a certificate whose key is missing is made anew, and nobody has trusted it yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cdn development authority {os.urandom(4).hex()}")])
    begins = datetime.fromtimestamp(now, UTC) - BACKDATED
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file.unlink(missing_ok=True)
    clear = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key_file, clear, 0o600)
    _write(certificate_file, root.public_bytes(_PEM), 0o644)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, synced, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
