"""Parts for tests of domains: a sight that says what the test says, and issuers."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cdn.control.domain_sight import Sight
from cdn.control.issuing import Issuing
from cdn.journal.tenure import MemoryOffices
from cdn.sites.onboarding import Looked
from cdn.tls.issuer import Issued, IssueOutcome, IssueRequest, RenewalWindow, Solver
from cdn.tls.sealed import KeyRing, SealingKey


@dataclass
class TestSight:
    """What every look shows, and what was asked."""

    __test__ = False
    shown: Looked = field(default_factory=lambda: Looked(True, True, True))
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def shows(self, **changes: object) -> None:
        self.shown = replace(self.shown, **changes)  # type: ignore[arg-type]

    async def look(self, domain: str, token: str | None) -> Sight:
        self.asked.append((domain, token))
        await asyncio.sleep(0)
        return Sight(self.shown)


class SigningIssuer:
    """Signs what it is asked for with a root of its own, unless `then` says otherwise."""

    def __init__(
        self, clock: Callable[[], float], *, life_s: float = 90 * 86_400.0, name: str = "https://acme.test/dir"
    ) -> None:
        self.name = name
        self.life_s = life_s
        self.requests: list[IssueRequest] = []
        self.outcomes: list[IssueOutcome] = []
        self.gate: asyncio.Event | None = None
        self.window: RenewalWindow | None = None
        self.revoked: list[str] = []
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test root")])
        self._root = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(datetime.datetime(2020, 1, 1))
            .not_valid_after(datetime.datetime(2060, 1, 1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    async def issue(self, request: IssueRequest, solver: Solver) -> IssueOutcome:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if self.outcomes:
            return self.outcomes.pop(0)
        return self.signed(request.csr)

    def signed(self, csr: bytes) -> Issued:
        asked = x509.load_der_x509_csr(csr)
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=60))
            .not_valid_after(now + datetime.timedelta(seconds=self.life_s))
            .add_extension(asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        pem = [each.public_bytes(serialization.Encoding.PEM).decode() for each in (certificate, self._root)]
        return Issued("".join(pem))

    async def renewal_window(self, chain: str) -> RenewalWindow | None:
        return self.window

    async def revoke(self, chain: str, reason: int) -> str | None:
        self.revoked.append(chain)
        return None

    async def aclose(self) -> None:
        pass


def ring(name: str = "ring") -> KeyRing:
    return KeyRing([SealingKey(os.urandom(32))], name)


def issuing(issuer: SigningIssuer | None, **more: object) -> Issuing:
    parts: dict[str, object] = {
        "control_ring": ring("control"),
        "rings": {"": ring("edge")},
        "offices": MemoryOffices(60.0),
        "holder": "control-1",
        "own_zone": False,
    }
    return Issuing(issuer, **{**parts, **more})  # type: ignore[arg-type]
