"""Blobs go up: many at once, each as often as it takes, none twice.

Where control allows it they go straight to the object store with presigned URLs, otherwise through control. Both ends
check the digest, so a file is not read a second time here to prove that it is still the same.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from cdn.errors import CdnError, Unavailable
from cdn.publish.backoff import Backoff
from cdn.publish.blob import Blob, BlobStream, FileChanged
from cdn.publish.client import CONNECT_TIMEOUT_S, ControlClient, PresignedUrl, UploadSession
from cdn.publish.endpoint import USER_AGENT
from cdn.publish.problem import error_from_answer
from cdn.publish.progress import Progress

MAX_SMALL_IN_FLIGHT = 32
"""Small blobs on the wire together. Each is held whole, so this also bounds memory: 32 times SMALL_BYTES."""

MAX_STREAMS_IN_FLIGHT = 4
"""Large blobs on the wire together: enough to fill a line, few enough that each gets its share before its timeout."""

URL_BATCH = 250
"""Presigned URLs asked for at once: below control's 1000, so that they are fresh and the first come soon."""

ANSWER_TIMEOUT_S = 60.0
"""Silence after the last byte was sent, after which a try counts as failed."""

SLOWEST_BYTES_PER_S = 4096
"""A blob that goes up more slowly than this (beside ANSWER_TIMEOUT_S) counts as stuck and is tried again."""

MAX_REFUSAL_BYTES = 16384
"""Read of an answer that refuses a blob: it is shown, not worked with."""


class UploadRefused(CdnError):
    """The store or control refused a blob for good."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer that is neither success nor `412 Precondition Failed`."""

    status: int
    content: bytes


class Uploader:
    """Uploads the missing blobs of one session."""

    def __init__(
        self,
        client: ControlClient,
        site: str,
        session: UploadSession,
        blobs: Mapping[str, Blob],
        *,
        progress: Progress,
        backoff: Backoff,
    ) -> None:
        self._client = client
        self._site = site
        self._session = session
        self._backoff = backoff
        self._progress = progress
        missing = [blobs[digest] for digest in session.missing]
        self._small = deque(blob for blob in missing if blob.is_small)
        self._large = deque(blob for blob in missing if not blob.is_small)
        self._urls = _Urls(client, site, session, [blob.digest for blob in (*self._large, *self._small)])

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Returns when every missing blob has arrived; the first blob that cannot ends it for all.

        Raises FileChanged, UploadRefused, Unavailable, or what control says.
        """
        small_workers = min(MAX_SMALL_IN_FLIGHT, len(self._small))
        large_workers = min(MAX_STREAMS_IN_FLIGHT, len(self._large))
        self._progress.uploading(
            len(self._session.missing), sum(blob.size_bytes for blob in (*self._small, *self._large))
        )
        tasks = [asyncio.create_task(self._work(http, self._large)) for _ in range(large_workers)]
        tasks += [asyncio.create_task(self._work(http, self._small)) for _ in range(small_workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._urls.aclose()
        self._progress.uploads_done()

    async def _work(self, http: aiohttp.ClientSession, blobs: deque[Blob]) -> None:
        while blobs:
            blob = blobs.popleft()
            await self._upload(http, blob)
            self._progress.uploaded(1, blob.size_bytes)

    async def _upload(self, http: aiohttp.ClientSession, blob: Blob) -> None:
        """Until the blob has arrived or it is clear that it never will."""
        failures = 0
        while True:
            try:
                refused = await self._put(http, blob)
            except FileChanged:
                raise
            except TimeoutError as exc:
                error: CdnError = Unavailable(f"{blob.path} got no answer in time")
                error.__cause__ = exc
            except (aiohttp.ClientError, OSError) as exc:
                if isinstance(exc.__cause__, FileChanged):
                    raise exc.__cause__ from exc
                error = Unavailable(f"{blob.path} could not be sent: {exc or type(exc).__name__}")
                error.__cause__ = exc
            else:
                if refused is None:
                    return
                if not self._may_pass_later(refused):
                    raise await self._explain(blob, refused)
                error = Unavailable(f"{blob.path} was refused: {self._said(refused)}")
                self._urls.discard(blob.digest)
            failures += 1
            if failures >= self._backoff.attempts:
                raise error
            await asyncio.sleep(self._backoff.wait_s(failures, random.random()))  # noqa: S311

    async def _put(self, http: aiohttp.ClientSession, blob: Blob) -> _Refused | None:
        url, fields = await self._target(blob.digest)
        if blob.is_small:
            content = aiohttp.BytesPayload(await asyncio.to_thread(blob.read))
            return await _send(http, url, fields, content, blob.size_bytes)
        with blob.open_stream() as stream:
            fields = {**fields, "Content-Length": str(blob.size_bytes)}
            return await _send(http, url, fields, stream, blob.size_bytes)

    async def _target(self, digest: str) -> tuple[URL, Mapping[str, str]]:
        if not self._session.direct:
            return self._client.blob_url(self._site, self._session.id, digest), self._client.endpoint.fields()
        presigned = await self._urls.get(digest)
        return URL(presigned.url, encoded=True), presigned.fields

    def _may_pass_later(self, refused: _Refused) -> bool:
        """A server's trouble passes; so does an expired URL, because the next try asks for another."""
        if refused.status >= 500 or refused.status in (408, 425, 429):
            return True
        return self._session.direct and (refused.status == 403 or b"RequestTimeout" in refused.content)

    def _said(self, refused: _Refused) -> str:
        """The reason in words: control's own, or what the store's status and error document give."""
        if self._session.direct:
            return f"the store answered with status {refused.status}{_reason(refused)}"
        return error_from_answer(refused.status, refused.content).message

    async def _explain(self, blob: Blob, refused: _Refused) -> CdnError:
        if await asyncio.to_thread(blob.has_changed):
            return FileChanged(blob.path)
        if not self._session.direct:
            return error_from_answer(refused.status, refused.content)
        return UploadRefused(f"the store refused {blob.path} with status {refused.status}{_reason(refused)}")


class _Urls:
    """Presigned URLs, asked for in batches, the next batch while the present one is used."""

    def __init__(self, client: ControlClient, site: str, session: UploadSession, digests: list[str]) -> None:
        self._ask: Callable[[list[str]], asyncio.Task[dict[str, PresignedUrl]]] = lambda batch: asyncio.create_task(
            client.upload_urls(site, session.id, batch)
        )
        self._batches = [digests[start : start + URL_BATCH] for start in range(0, len(digests), URL_BATCH)]
        self._batch_of = {digest: number for number, batch in enumerate(self._batches) for digest in batch}
        self._asked: dict[int, asyncio.Task[dict[str, PresignedUrl]]] = {}
        self._discarded: set[str] = set()

    async def get(self, digest: str) -> PresignedUrl:
        """A URL for the digest; each is given out until it is discarded."""
        if digest in self._discarded:
            self._discarded.remove(digest)
            answer = await self._ask([digest])
            number = self._batch_of[digest]
            if number in self._asked:
                (await self._asked[number])[digest] = answer[digest]
            return answer[digest]
        number = self._batch_of[digest]
        for wanted in (number, number + 1):
            if wanted < len(self._batches) and wanted not in self._asked:
                self._asked[wanted] = self._ask(self._batches[wanted])
        answer = await asyncio.shield(self._asked[number])
        if digest not in answer:
            raise Unavailable(f"control gave no upload URL for {digest}: deploy again")
        return answer[digest]

    def discard(self, digest: str) -> None:
        """The URL did not work: the next `get` asks for another."""
        self._discarded.add(digest)

    async def aclose(self) -> None:
        """Ends questions under way."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


async def _send(
    http: aiohttp.ClientSession,
    url: URL,
    fields: Mapping[str, str],
    content: aiohttp.BytesPayload | BlobStream,
    size_bytes: int,
) -> _Refused | None:
    timeout = aiohttp.ClientTimeout(
        total=ANSWER_TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S,
        sock_connect=CONNECT_TIMEOUT_S,
        sock_read=ANSWER_TIMEOUT_S,
    )
    async with http.put(url, data=content, headers=fields, timeout=timeout, allow_redirects=False) as response:
        if 200 <= response.status < 300 or response.status == 412:
            return None
        return _Refused(response.status, await response.content.read(MAX_REFUSAL_BYTES))


@asynccontextmanager
async def store_connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections for uploads. They carry no token: control's token is added only to uploads through control."""
    connector = aiohttp.TCPConnector(
        limit=MAX_SMALL_IN_FLIGHT + MAX_STREAMS_IN_FLIGHT, ttl_dns_cache=300, keepalive_timeout=30
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
    ) as session:
        yield session


def _reason(refused: _Refused) -> str:
    """The code and message of an S3 error document, as far as there is one."""
    text = refused.content.decode("utf-8", "replace")
    parts = [text.split(f"<{name}>", 1)[1].split("<", 1)[0] for name in ("Code", "Message") if f"<{name}>" in text]
    return f" ({': '.join(parts)})" if parts else ""
