"""Requests of ACME: signed, with a nonce each, their answers read as objects of the protocol (RFC 8555 6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from cdn.tls.acme.authority import Authority
from cdn.tls.acme.directory import Directory
from cdn.tls.acme.jws import AccountKey, signed
from cdn.tls.acme.nonce import NoncePool
from cdn.tls.acme.problem import AcmeRefused, AuthorityAway, NotAcme, Problem
from cdn.tls.acme.transport import AcmeTransport, Answer

DIRECTORY_LIFE_S = 3600.0
"""How long a directory is used before it is read again; sooner where a URL of it does not answer."""

NONCE_TRIES = 10
"""Of one request: a nonce that is refused brings the next (RFC 8555 6.5); a test authority refuses one in twenty."""

_Shape = TypeVar("_Shape")


class AcmeClient:
    """Speaks with one authority. Every method raises AcmeRefused with what it said, and AuthorityAway."""

    def __init__(
        self,
        authority: Authority,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is wall time. Raises InvalidInput when the CA file cannot be read."""
        self.authority = authority
        self._transport = AcmeTransport(authority, clock=clock)
        self._monotonic = monotonic
        self._nonces = NoncePool()
        self._directory: Directory | None = None
        self._directory_until = 0.0
        self._directory_lock = asyncio.Lock()

    async def directory(self) -> Directory:
        """Read once an hour."""
        async with self._directory_lock:
            if self._directory is None or self._monotonic() >= self._directory_until:
                answer = await self._get(self.authority.directory_url)
                self._directory = self.read(answer, Directory)
                self._directory_until = self._monotonic() + DIRECTORY_LIFE_S
            return self._directory

    def forget_directory(self) -> None:
        """It leads nowhere: the authority may have begun anew."""
        self._directory_until = 0.0
        self._nonces.clear()

    async def post(self, url: str, payload: Any, key: AccountKey, account_url: str | None) -> Answer:
        """A signed request. `payload` None asks for what is there (POST-as-GET, RFC 8555 6.3)."""
        accept = "application/json, application/problem+json, application/pem-certificate-chain"
        for attempt in range(1, NONCE_TRIES + 1):
            content = signed(key, payload, url=url, nonce=await self._nonce(), account_url=account_url)
            answer = await self._transport.exchange("POST", url, content=content, accept=accept)
            self._nonces.put(answer.fields.get("replay-nonce"))
            if answer.status < 400:
                return answer
            refused = self._refusal(answer)
            if refused.problem.kind != "badNonce" or attempt == NONCE_TRIES:
                raise refused
        raise AssertionError("the last try returns or raises")

    async def get(self, url: str) -> Answer:
        """An unsigned request (RFC 9773 4.1 has them)."""
        return await self._get(url)

    def read(self, answer: Answer, shape: type[_Shape]) -> _Shape:
        """An answer's object. Raises NotAcme when it is none."""
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise NotAcme(
                f"{self.authority.host} answers with what is no {shape.__name__.lower()} of ACME: {exc}"
            ) from exc

    async def aclose(self) -> None:
        """Close connections."""
        await self._transport.aclose()

    async def _get(self, url: str) -> Answer:
        answer = await self._transport.exchange("GET", url, accept="application/json, application/problem+json")
        if answer.status >= 400:
            raise self._refusal(answer)
        return answer

    async def _nonce(self) -> str:
        nonce = self._nonces.take()
        if nonce is not None:
            return nonce
        answer = await self._transport.exchange("HEAD", (await self.directory()).new_nonce)
        if answer.status >= 400:
            raise self._refusal(answer)
        self._nonces.put(answer.fields.get("replay-nonce"))
        nonce = self._nonces.take()
        if nonce is None:
            raise NotAcme(f"{self.authority.host} gives no nonce: that is no ACME")
        return nonce

    def _refusal(self, answer: Answer) -> AcmeRefused:
        """What a status of 400 and more says. Raises AuthorityAway where it is not said in ACME's form."""
        host = self.authority.host
        if answer.status == 404:
            self.forget_directory()
        if answer.media_type in ("application/problem+json", "application/json"):
            try:
                problem = msgspec.json.decode(answer.content, type=Problem)
                return AcmeRefused(host, problem, answer.status, answer.retry_after_s)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # what says nothing in that form is told by its status, below
        if answer.status == 404:
            return AcmeRefused(host, Problem(detail="404, not found"), answer.status, answer.retry_after_s)
        raise AuthorityAway(f"{host} answers with status {answer.status}", retry_after_s=answer.retry_after_s)
