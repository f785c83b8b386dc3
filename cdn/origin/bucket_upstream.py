"""A bucket as the upstream of a pull site: paths become keys, S3's answers those of a web site."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes

from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead
from cdn.origin.endpoint import Endpoint
from cdn.origin.fixed_content import FixedContent
from cdn.origin.s3_access import S3Access
from cdn.origin.upstream import (
    Upstream,
    UpstreamBroken,
    UpstreamContent,
    UpstreamFault,
    UpstreamRequest,
    UpstreamResponse,
)
from cdn.sites.origin import BucketOrigin

INDEX = "index.html"
NOT_FOUND_PAGE = "404.html"

MAX_KEY_BYTES = 1024
"""S3 has no longer keys."""

MAX_FAULT_BYTES = 16 * 1024
"""How much of an error document is read to find its code."""

_PASSED_UP = frozenset(("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"))
_DESCRIBING = frozenset(("content-type", "content-length", "content-encoding", "content-language", "date"))
_FRAMING = frozenset(("connection", "transfer-encoding"))
_OF_OBJECT = frozenset(
    ("content-disposition", "content-range", "cache-control", "expires", "etag", "last-modified", "accept-ranges")
)
_WRONG_CREDENTIALS = frozenset(
    (
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
        "InvalidSecurity",
        "NotSignedUp",
        "AccountProblem",
    )
)
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,100})</Code>")
_REGION = re.compile(rb"<Region>([a-z0-9-]{1,40})</Region>")


class SendsTo(Protocol):
    """Gives the upstream behind an endpoint."""

    def __call__(self, endpoint: Endpoint) -> Upstream: ...


class BucketUpstream:
    """An Upstream that reads objects. GET and HEAD only; the query of a target means nothing to it.

    A path that ends with "/" names its index.html; one without an object whose index.html exists is redirected there.
    What is missing, or may not be read, is a 404 with the bucket's 404.html where there is one. S3's own fields and
    error documents stay here. The whole bucket of the node's own store is refused.
    """

    def __init__(
        self, origin: BucketOrigin, access: S3Access, sends_to: SendsTo, timeout_s: float, own_bucket: str | None
    ) -> None:
        self._origin = origin
        self._access = access
        self._sends_to = sends_to
        self._timeout_s = timeout_s
        self._own_bucket = own_bucket

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        """See Upstream. Raises UpstreamBroken also for CREDENTIALS and BUCKET."""
        del on_interim  # an object has nothing to say before it comes
        method = request.method
        if self._origin.bucket == self._own_bucket:
            raise self._refused("it holds the store of this CDN, with the files of every site; name another one")
        if method not in ("GET", "HEAD"):
            return _local(method, 405, (("allow", "GET, HEAD"),), b"Only GET and HEAD are answered here.\n")
        path, mark, query = request.target.partition("?")
        key = self._key_of(path)
        if key is None:
            return await self._not_found(method)
        answer, code = await self._read(method, key, _passed_up(request.fields))
        status = answer.head.status
        if code is None:
            fields = _kept(answer.head.fields, _DESCRIBING | _FRAMING | _OF_OBJECT)
            return UpstreamResponse(ResponseHead(status, fields), answer.content)
        if status in (412, 416) or status >= 500:
            return _local(method, status, _kept(answer.head.fields, {"date", "retry-after", "content-range"}).lines)
        if status not in (403, 404):
            raise self._refused(f"S3 answered {status} ({code})")
        if not path.endswith("/") and not path.startswith("//") and await self._has(f"{key}/{INDEX}"):
            return _local(method, 308, (("location", f"{path}/{mark}{query}"),))
        return await self._not_found(method)

    def _key_of(self, path: str) -> str | None:
        """The percent-encoded key of a path; None when no object can have it."""
        raw = unquote_to_bytes(path.removeprefix("/"))
        if path.endswith("/"):
            raw += INDEX.encode()
        if not {b".", b".."}.isdisjoint(raw.split(b"/")):
            return None
        return self._below_prefix(raw)

    def _below_prefix(self, raw: bytes) -> str | None:
        prefix = self._origin.prefix
        whole = prefix.encode() + b"/" + raw if prefix else raw
        return None if len(whole) > MAX_KEY_BYTES else quote_from_bytes(whole, safe="/-_.~")

    async def _read(
        self, method: str, key: str, fields: FieldLines, *, may_learn: bool = True
    ) -> tuple[UpstreamResponse, str | None]:
        """Ask S3: its answer, and None when that is what was asked for, else S3's code for what is the matter.

        The content of such an answer is closed.
        """
        answer = await self._ask(method, key, fields)
        status = answer.head.status
        if status in (200, 206, 304):
            return answer, None
        region = answer.head.fields.get("x-amz-bucket-region")
        code = "unknown"
        if status < 500 and status not in (412, 416):
            # The answer to HEAD has no code; which one it is decides between a page that is missing and a fault.
            told = answer if method == "GET" else await self._ask_again(key, answer.content)
            document = await _beginning(told.content)
            code = _first(_CODE, document) or code
            region = region or _first(_REGION, document)
        else:
            await answer.content.aclose()
        if (
            status in (301, 307, 400)
            and region
            and may_learn
            and self._access.learn_region(self._origin.bucket, region)
        ):
            return await self._read(method, key, fields, may_learn=False)
        if code in _WRONG_CREDENTIALS:
            self._access.forget_identity()
            raise UpstreamBroken(
                UpstreamFault.CREDENTIALS,
                f"S3 refused the credentials for the bucket {self._origin.bucket}: {code}. Give the edge others.",
            )
        if code == "NoSuchBucket":
            raise self._refused("it does not exist")
        return answer, code

    async def _ask(self, method: str, key: str, fields: FieldLines) -> UpstreamResponse:
        place = await self._access.place(self._origin.bucket, self._timeout_s)
        path = f"{place.path}/{key}"
        signed = await self._access.sign(method, place, path, self._timeout_s)
        request = UpstreamRequest(method, path, (("host", place.host), *signed, *fields))
        return await self._sends_to(place.endpoint).send(request, _ignore)

    async def _ask_again(self, key: str, content: UpstreamContent) -> UpstreamResponse:
        await content.aclose()
        return await self._ask("GET", key, (("range", "bytes=0-0"),))

    async def _has(self, key: str) -> bool:
        answer = await self._ask("HEAD", key, ())
        await answer.content.aclose()
        return answer.head.status == 200

    async def _not_found(self, method: str) -> UpstreamResponse:
        key = self._below_prefix(NOT_FOUND_PAGE.encode())
        if key is not None:
            page = await self._ask(method, key, ())
            if page.head.status == 200:
                return UpstreamResponse(
                    ResponseHead(404, _kept(page.head.fields, _DESCRIBING | _FRAMING)), page.content
                )
            await page.content.aclose()
        return _local(method, 404, (), b"404 Not Found\n")

    def _refused(self, why: str) -> UpstreamBroken:
        return UpstreamBroken(UpstreamFault.BUCKET, f"The bucket {self._origin.bucket} cannot be read: {why}.")


def _passed_up(fields: FieldLines) -> FieldLines:
    """What S3 understands as HTTP does. It does not know If-Range: without a Range the whole object is right."""
    passed = tuple((name, value) for name, value in fields if name in _PASSED_UP)
    has_if_range = any(name == "if-range" for name, _ in fields)
    return tuple((name, value) for name, value in passed if name != "range") if has_if_range else passed


def _kept(fields: Fields, names: Collection[str]) -> Fields:
    return Fields(tuple((name, value) for name, value in fields if name in names))


def _local(method: str, status: int, fields: FieldLines, text: bytes = b"") -> UpstreamResponse:
    described = (*fields, ("content-length", str(len(text))))
    if text:
        described += (("content-type", "text/plain; charset=utf-8"),)
    return UpstreamResponse(ResponseHead(status, Fields(described)), FixedContent(b"" if method == "HEAD" else text))


async def _beginning(content: UpstreamContent) -> bytes:
    """The first MAX_FAULT_BYTES or so; the content is closed."""
    parts: list[bytes] = []
    try:
        async for part in content:
            parts.append(part)
            if sum(map(len, parts)) >= MAX_FAULT_BYTES:
                break
    finally:
        await content.aclose()
    return b"".join(parts)


def _first(pattern: re.Pattern[bytes], document: bytes) -> str | None:
    found = pattern.search(document)
    return None if found is None else found[1].decode("ascii")


def _ignore(head: ResponseHead) -> None:
    del head
