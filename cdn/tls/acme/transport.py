"""Exchanges with an authority over HTTPS, each bounded in size and time."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from cdn import __version__
from cdn.errors import InvalidInput
from cdn.http.fields import Fields
from cdn.http.reuse_terms import retry_after_s
from cdn.tls.acme.authority import Authority
from cdn.tls.acme.problem import AuthorityAway, NotAcme, printable

MAX_ANSWER_BYTES = 262_144
"""Chains and orders of a hundred names take a tenth of it."""

MAX_CONNECTIONS = 8
"""To one authority: orders share them, and authorities limit requests rather than serve them faster."""

CONNECT_TRIES = 3
"""Of a connection that breaks: one that idled is often closed just then, and a front end is away for a second."""

CONNECT_PAUSE_S = 0.5
"""Before the second try; twice as long before the third."""

MAX_RETRY_AFTER_S = 86_400.0
"""What an authority asks for beyond a day counts as a day: then it is asked again, and may say so again."""

USER_AGENT = f"cdn/{__version__}"
"""RFC 8555 6.1 wants one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    fields: Fields
    content: bytes
    url: str
    retry_after_s: float | None

    @property
    def location(self) -> str:
        """Absolute; "" where there is none."""
        text = self.fields.get("location")
        return "" if text is None else str(URL(self.url).join(URL(text)))

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case."""
        return (self.fields.get("content-type") or "").partition(";")[0].strip().lower()


class AcmeTransport:
    """Redirects are not followed and no proxy or cookie is used: what is signed names its URL."""

    def __init__(self, authority: Authority, *, clock: Callable[[], float] = time.time) -> None:
        """Raises InvalidInput when the CA file cannot be read."""
        self._authority = authority
        self._clock = clock
        self._scheme = urlsplit(authority.directory_url).scheme
        self._tls = authority_tls(authority.ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, method: str, url: str, *, content: bytes | None = None, accept: str = "*/*") -> Answer:
        """One request; a connection that breaks is tried again. Raises AuthorityAway."""
        if urlsplit(url).scheme != self._scheme or not urlsplit(url).hostname:
            raise NotAcme(f"{self._authority.host} names {printable(url)!r}, which is no {self._scheme} URL")
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if content is not None:
            headers["Content-Type"] = "application/jose+json"
        for attempt in range(1, CONNECT_TRIES + 1):
            try:
                async with asyncio.timeout(self._authority.request_timeout_s):
                    return await self._once(method, url, content, headers)
            except TimeoutError as exc:
                raise AuthorityAway(
                    f"{self._authority.host} did not answer within {self._authority.request_timeout_s:g} s"
                ) from exc
            except aiohttp.ClientConnectorCertificateError as exc:
                raise AuthorityAway(
                    f"{self._authority.host} shows a certificate that is not trusted "
                    f"({printable(str(exc.certificate_error))}): name its authority in ca_file"
                ) from exc
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                if attempt == CONNECT_TRIES or not isinstance(exc, aiohttp.ClientConnectionError | OSError):
                    raise AuthorityAway(
                        f"{self._authority.host} is not reached: {printable(str(exc)) or type(exc).__name__}"
                    ) from exc
            await asyncio.sleep(CONNECT_PAUSE_S * attempt)
        raise AssertionError("the last try returns or raises")

    async def aclose(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _once(self, method: str, url: str, content: bytes | None, headers: dict[str, str]) -> Answer:
        async with self._opened().request(
            method, URL(url, encoded=True), data=content, headers=headers, allow_redirects=False
        ) as response:
            fields = Fields(tuple((name.lower(), value) for name, value in response.headers.items()))
            if 300 <= response.status < 400:
                raise NotAcme(
                    f"{self._authority.host} sends elsewhere, to {printable(fields.get('location') or '')!r}: "
                    "give the directory's own URL"
                )
            read = await _content_of(response, self._authority.host)
            wanted_s = retry_after_s(fields, self._clock())
            return Answer(
                response.status, fields, read, url, None if wanted_s is None else min(wanted_s, MAX_RETRY_AFTER_S)
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._tls),
                timeout=aiohttp.ClientTimeout(total=None),  # one of our own is around each exchange
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


async def _content_of(response: aiohttp.ClientResponse, host: str) -> bytes:
    read = bytearray()
    async for part in response.content.iter_any():
        read += part
        if len(read) > MAX_ANSWER_BYTES:
            response.close()
            raise NotAcme(f"{host} answers with more than {MAX_ANSWER_BYTES} bytes: that is no ACME")
    return bytes(read)


def authority_tls(ca_file: Path | None) -> ssl.SSLContext:
    """How authorities are talked to: `ca_file` is trusted beside what the system trusts. Raises InvalidInput."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise InvalidInput(
                f"{ca_file} holds no authorities in PEM form that can be read: {exc.strerror or exc}",
                field="ca_file",
            ) from exc
    return context
