"""An ACME authority of a test's own, over plain HTTP on loopback: it signs, says when to renew, and lies when told to.

What Debian's Pebble lacks is here: renewal information (RFC 9773), `replaces`, profiles, rate limits. Any answer may be
put in the place of the true one (`say`).
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

URN = "urn:ietf:params:acme:error:"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Said:
    """One answer in place of the true one. `content` that is no bytes is written as JSON."""

    status: int
    content: Any = b""
    fields: Mapping[str, str] = field(default_factory=dict)


def problem(kind: str, detail: str, status: int = 400, fields: Mapping[str, str] = _NOTHING, **more: Any) -> Said:
    """As an authority that keeps to the standards says no."""
    content = {"type": f"{URN}{kind}", "detail": detail, **more}
    return Said(status, content, {"Content-Type": "application/problem+json", **fields})


class SmallAuthority:
    """Every order is for names that are ours once their challenge was posted and its authorization looked at
    `looks` times. Every nonce is good once."""

    def __init__(self) -> None:
        self.url = ""
        self.meta: dict[str, Any] = {}
        self.has_renewal_info = True
        self.looks = 1
        self.seen: list[tuple[str, Any]] = []
        """Every request in order: the page, and what was sent (None: nothing)."""
        self._said: dict[str, deque[Said | Callable[[], Awaitable[Said]]]] = {}
        self._nonces: set[str] = set()
        self._count = 0
        self._orders: dict[str, dict[str, Any]] = {}
        self._looks_left: dict[str, int] = {}
        self._chains: dict[str, bytes] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())

    def say(self, page: str, *answers: Said | Callable[[], Awaitable[Said]]) -> None:
        """What is said at the next requests of a page ("dir", "order", ...), one after the other."""
        self._said.setdefault(page, deque()).extend(answers)

    def sent_to(self, page: str) -> list[Any]:
        """What was sent to a page."""
        return [sent for where, sent in self.seen if where == page]

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{page}", self._answer)
        application.router.add_route("*", "/{page}/{id}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        page = request.match_info["page"]
        sent = await _payload_of(request)
        self.seen.append((page, sent))
        queue = self._said.get(page)
        if queue:
            next_one = queue.popleft()
            said = next_one if isinstance(next_one, Said) else await next_one()
        else:
            said = await self._true_answer(page, request.match_info.get("id", ""), request, sent)
        plain = said.content if isinstance(said.content, bytes) else json.dumps(said.content).encode()
        fields = {"Replay-Nonce": self._nonce(), "Content-Type": "application/json", **said.fields}
        return web.Response(status=said.status, body=plain, headers={k: v for k, v in fields.items() if v})

    async def _true_answer(self, page: str, number: str, request: web.Request, sent: Any) -> Said:
        if request.method == "POST":
            nonce = json.loads(_decoded((await request.json())["protected"]))["nonce"]
            if nonce not in self._nonces:
                return problem("badNonce", "that nonce is not mine")
            self._nonces.discard(nonce)
        pages: dict[str, Callable[[str, Any], Said]] = {
            "dir": self._directory,
            "nonce": lambda number, sent: Said(200),
            "account": lambda number, sent: Said(201, {"status": "valid"}, {"Location": f"{self.url}/account/1"}),
            "new-order": self._new_order,
            "order": self._order,
            "authorization": self._authorization,
            "challenge": self._challenge,
            "finalize": self._finalize,
            "certificate": lambda number, sent: Said(200, self._chains[number]),
            "revoke": lambda number, sent: Said(200),
            "renewal": lambda number, sent: problem("malformed", "unknown certificate", 404),
        }
        return pages[page](number, sent)

    def _directory(self, number: str, sent: Any) -> Said:
        pages = {"newNonce": "nonce", "newAccount": "account", "newOrder": "new-order", "revokeCert": "revoke"}
        if self.has_renewal_info:
            pages["renewalInfo"] = "renewal"
        return Said(200, {**{key: f"{self.url}/{page}" for key, page in pages.items()}, "meta": self.meta})

    def _new_order(self, number: str, sent: Any) -> Said:
        number = str(len(self._orders) + 1)
        self._looks_left[number] = -1
        self._orders[number] = {
            "status": "pending",
            "identifiers": sent["identifiers"],
            "authorizations": [f"{self.url}/authorization/{number}"],
            "finalize": f"{self.url}/finalize/{number}",
        }
        return Said(201, self._orders[number], {"Location": f"{self.url}/order/{number}"})

    def _order(self, number: str, sent: Any) -> Said:
        known = self._orders.get(number)
        return problem("malformed", "no such order", 404) if known is None else Said(200, known)

    def _authorization(self, number: str, sent: Any) -> Said:
        if self._looks_left[number] > 0:
            self._looks_left[number] -= 1
        is_valid = self._looks_left[number] == 0
        if is_valid and self._orders[number]["status"] == "pending":
            self._orders[number]["status"] = "ready"
        offered = {"type": "http-01", "url": f"{self.url}/challenge/{number}", "token": "tok-1", "status": "pending"}
        content = {"identifier": self._orders[number]["identifiers"][0], "challenges": [offered]}
        return Said(200, {"status": "valid" if is_valid else "pending", **content})

    def _challenge(self, number: str, sent: Any) -> Said:
        self._looks_left[number] = self.looks
        return Said(200, {"type": "http-01", "url": f"{self.url}/challenge/{number}", "status": "processing"})

    def _finalize(self, number: str, sent: Any) -> Said:
        self._chains[number] = self.sign(_decoded(sent["csr"]))
        self._orders[number] |= {"status": "valid", "certificate": f"{self.url}/certificate/{number}"}
        return Said(200, self._orders[number])

    def sign(self, csr: bytes, *, key: Any = None) -> bytes:
        """A chain of one in PEM form; `key` in place of the request's."""
        request = x509.load_der_x509_csr(csr)
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small authority")])
        serial = int.from_bytes(b"\x87" + self._count.to_bytes(4, "big"), "big")  # its first bit is set: see RFC 9773
        builder = x509.CertificateBuilder(
            name, x509.Name([]), key or request.public_key(), serial, now, now + timedelta(days=6)
        )
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = builder.add_extension(names, critical=True).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _nonce(self) -> str:
        self._count += 1
        nonce = f"nonce-{self._count}"
        self._nonces.add(nonce)
        return nonce


@asynccontextmanager
async def small_authority() -> AsyncIterator[SmallAuthority]:
    """Running, at a port of its own."""
    authority = SmallAuthority()
    runner = web.AppRunner(authority.application(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        authority.url = f"http://{host}:{port}"
        yield authority
    finally:
        await runner.cleanup()


async def _payload_of(request: web.Request) -> Any:
    if request.method != "POST":
        return None
    payload = (await request.json())["payload"]
    return json.loads(_decoded(payload)) if payload else None


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
