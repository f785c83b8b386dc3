"""What a test shows to an authority: a solver for real servers of http-01, tls-alpn-01 and dns-01, in one process."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdn.errors import CdnError
from cdn.tls.issuer import Challenge, ChallengeMethod
from tests.servers.names import Names

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


class Answers:
    """See `Solver`. `presented` are all that were ever asked for, `open` those that are not withdrawn."""

    def __init__(self, names: Names | None = None) -> None:
        self._names = names
        self.presented: list[Challenge] = []
        self.open: list[Challenge] = []
        self.refusals: dict[ChallengeMethod, CdnError] = {}
        """What `present` raises by method."""
        self.is_silent = False
        """Nothing is shown of what was asked for."""
        self.at_present: asyncio.Event | None = None
        """Where it is set, `present` says that it was called, and never returns."""
        self.called = asyncio.Event()

    async def present(self, challenge: Challenge) -> None:
        self.called.set()
        self.presented.append(challenge)
        if self.at_present is not None:
            await self.at_present.wait()
        if challenge.method in self.refusals:
            raise self.refusals[challenge.method]
        self.open.append(challenge)
        self._tell_names(challenge.domain)

    async def withdraw(self, challenge: Challenge) -> None:
        if challenge in self.open:
            self.open.remove(challenge)
            self._tell_names(challenge.domain)

    def shown(self, method: ChallengeMethod, domain: str) -> list[Challenge]:
        """What is shown now."""
        found = [each for each in self.open if each.method is method and each.domain == domain]
        return [] if self.is_silent else found

    def _tell_names(self, domain: str) -> None:
        if self._names is not None:
            values = [f'"{each.value}"' for each in self.shown(ChallengeMethod.DNS, domain)]
            self._names.set(f"_acme-challenge.{domain}", "TXT", *values)


@asynccontextmanager
async def serving(answers: Answers, *, http_port: int, tls_port: int) -> AsyncIterator[None]:
    """Servers on loopback that show what `answers` has open."""
    application = web.Application()

    async def answer(request: web.Request) -> web.Response:
        host = request.host.partition(":")[0]
        for each in answers.shown(ChallengeMethod.HTTP, host):
            if each.token == request.match_info["token"]:
                return web.Response(text=each.value)
        raise web.HTTPNotFound(text="nothing of that name here")

    application.router.add_get("/.well-known/acme-challenge/{token}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", http_port).start()
    server = await asyncio.start_server(_closed, "127.0.0.1", tls_port, ssl=_context(answers))
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()


async def _closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read(1)  # until the authority has seen enough
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass


def _context(answers: Answers) -> ssl.SSLContext:
    base = _answering("nobody.test", b"\0" * 32)

    def chosen(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        for each in answers.shown(ChallengeMethod.TLS_ALPN, name or ""):
            digest = base64.urlsafe_b64decode(each.value + "=")
            connection.context = _answering(each.domain, digest)
            return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    base.sni_callback = chosen
    return base


def _answering(domain: str, digest: bytes) -> ssl.SSLContext:
    """With the certificate that RFC 8737 3 wants."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["acme-tls/1"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context
