"""The method PURGE: one URL is purged where it is visited, as with Fastly's and many a Varnish.

A node cannot purge by itself, and must not believe anybody: it passes the URL and the token on to control, which
checks them, records the purge for all nodes, and answers in Fastly's shape (docs/dialects.md). So the order of records,
receipts and limits are the same as for every other purge.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import aiohttp
from cachetools import LRUCache
from yarl import URL

from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.http.cache_status import CacheStatus
from cdn.http.fields import FieldLines, Fields
from cdn.http.request import Request

METHOD = "PURGE"

MAX_CONCURRENT = 16
"""Purges on their way to control at one time: a stranger's must not keep the node from what it is for."""

MAX_REFUSED = 10
"""Tokens that control did not know, from one address in REFUSED_S; more are not passed on: nobody guesses them."""

REFUSED_S = 60.0

MAX_ADDRESSES = 10_000
"""Addresses of which it is known how often they were refused, some 2 MB; the one that was first is forgotten."""

MAX_ANSWER_BYTES = 64 * 1024
"""Of control's answer: it is a line."""

TIMEOUT_S = 15.0
"""For one answer of control, which waits up to five seconds for nodes."""

_TOKEN = re.compile(r"cdn_[0-9A-Za-z]{1,64}_[0-9A-Za-z]{1,128}")

_MESSAGES: Mapping[int, str] = {
    401: "Provided credentials are missing or invalid",
    429: "You have exceeded your rate limit",
    503: "Service unavailable",
}
"""What Fastly says in `msg`; ours is in `detail`."""

_PASSED_ON = ("content-type", "cdn-receipt", "retry-after", "www-authenticate")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refused:
    """How often an address was, since a monotonic time."""

    count: int
    since: float


class PurgeMethod:
    """Passes purges on. `control_urls` are control's replicas, tried in turn; `tls` None: the system's authorities."""

    def __init__(
        self,
        cache_name: str,
        control_urls: Sequence[str],
        *,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float],
    ) -> None:
        self._cache_name = cache_name
        self._control_urls = tuple(url.rstrip("/") for url in control_urls)
        self._tls = tls
        self._monotonic = monotonic
        self._under_way = 0
        self._refused: LRUCache[str, _Refused] = LRUCache(MAX_ADDRESSES)

    async def answer(self, request: Request, visitor: Visitor) -> Response:
        """What control says to the purge of the URL that is asked for."""
        token = _token_of(request.fields)
        if token is None:
            challenge = (("www-authenticate", 'Bearer realm="cdn"'),)
            return self._said(401, "This needs a token with the scope purge, in the field Fastly-Key.", challenge)
        wait_s = self._refused_for_s(visitor.address)
        if wait_s > 0:
            return self._said(429, "Too many tokens were refused.", (("retry-after", str(ceil(wait_s))),))
        if self._under_way >= MAX_CONCURRENT:
            return self._said(503, "Too many purges are under way here.", (("retry-after", "1"),))
        self._under_way += 1
        try:
            response = await self._passed_on(request, token)
        finally:
            self._under_way -= 1
        if response.status == 401:
            self._note_refusal(visitor.address)
        return response

    async def _passed_on(self, request: Request, token: str) -> Response:
        path, query = request.target.path, request.target.query
        target = path if query is None else f"{path}?{query}"
        fields = {"Fastly-Key": token}
        if (soft := request.fields.get("fastly-soft-purge")) is not None:
            fields["Fastly-Soft-Purge"] = soft
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as client:
            for url in self._control_urls:
                try:
                    return await self._asked(client, _url_of(url, f"/purge/{request.host}{target}"), fields)
                except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                    log.warning("a purge was not taken by %s: %s", url, exc or type(exc).__name__)
        return self._said(503, "The control plane does not answer: nothing was purged.", (("retry-after", "5"),))

    async def _asked(self, client: aiohttp.ClientSession, url: URL, fields: dict[str, str]) -> Response:
        tls = True if self._tls is None else self._tls
        async with client.post(url, headers=fields, ssl=tls, allow_redirects=False) as answer:
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > MAX_ANSWER_BYTES:
                    break
            lines = [(name, value) for name in _PASSED_ON if (value := answer.headers.get(name)) is not None]
            return Response(answer.status, (*self._own_fields(), *lines), bytes(content[:MAX_ANSWER_BYTES]))

    def _refused_for_s(self, address: str) -> float:
        known = self._refused.get(address)
        if known is None or known.count < MAX_REFUSED:
            return 0.0
        return known.since + REFUSED_S - self._monotonic()

    def _note_refusal(self, address: str) -> None:
        now, known = self._monotonic(), self._refused.get(address)
        if known is None or now - known.since >= REFUSED_S:
            known = self._refused[address] = _Refused(0, now)
        known.count += 1

    def _said(self, status: int, sentence: str, fields: FieldLines = ()) -> Response:
        content = json.dumps({"msg": _MESSAGES[status], "detail": sentence}).encode()
        return Response(status, (*self._own_fields(), ("content-type", "application/json"), *fields), content)

    def _own_fields(self) -> FieldLines:
        status = CacheStatus(self._cache_name, detail="purge").serialise()
        return (("cache-control", "no-store"), ("cache-status", status))


def _url_of(control_url: str, target: str) -> URL:
    """`target` below control's URL, octet for octet: given as a path, as of a query that is empty the mark would go,
    and another URL be purged."""
    base = URL(control_url)
    path = f"{base.raw_path.rstrip('/')}{target}"
    return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, encoded=True)


def _token_of(fields: Fields) -> str | None:
    """What has the form of a token, in the field that Fastly has for it or as a bearer's."""
    text = fields.get("fastly-key")
    if text is None:
        scheme, _, text = (fields.get("authorization") or "").partition(" ")
        text = text.strip() if scheme.lower() == "bearer" else ""
    return text if _TOKEN.fullmatch(text) else None
