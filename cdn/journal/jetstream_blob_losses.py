"""Blobs that one replica of control found lost or damaged, told to all: none of them says that they are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from cdn.journal.jetstream_api import JetStreamApi
from cdn.journal.jetstream_bucket import JetStreamBucket
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tail import Tail
from cdn.journal.nats_link import NatsLink, end_task

KEPT_S = 86_400.0
"""How long a replica may be cut off from NATS and still hear of every loss: it takes no deploys meanwhile."""

_log = logging.getLogger(__name__)


class _Loss(msgspec.Struct, frozen=True):
    site_id: str
    digest: str


class JetStreamBlobLosses:
    """A bucket with an entry for each loss of the last day, and everything in it, in order, as it comes."""

    def __init__(self, link: NatsLink, bucket: JetStreamBucket, api: JetStreamApi) -> None:
        self._bucket = bucket
        self._take: Callable[[str, str], None] | None = None
        self._tail = Tail(link, api, bucket.stream, last=0, take=self._arrived)
        self._following: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, link: NatsLink, settings: JetStreamSettings) -> JetStreamBlobLosses:
        """The losses beside the journal of `settings`. Raises JournalUnavailable."""
        api = JetStreamApi(link, settings.domain)
        bucket = JetStreamBucket(link, api, f"{settings.name}-losses")
        await bucket.settle(replicas=settings.replicas, expires_after_s=KEPT_S)
        return cls(link, bucket, api)

    def start(self, take: Callable[[str, str], None]) -> None:
        """Call `take` with site and digest of every loss that was told, by whomever; again after a start."""
        self._take = take
        self._following = asyncio.create_task(self._tail.run(), name="blob-losses")

    async def tell(self, site_id: str, digest: str) -> None:
        """When it returns every replica hears of it, or has. Raises JournalUnavailable."""
        key = f"{site_id}/{digest}"
        found = await self._bucket.get(key)
        # Whoever was quicker told the same.
        await self._bucket.put(key, msgspec.json.encode(_Loss(site_id, digest)), expected_revision=found.revision)

    async def aclose(self) -> None:
        """Stop following; the link is not ours."""
        if self._following is not None:
            await end_task(self._following)

    def _arrived(self, sequence: int, subject: str, content: bytes) -> None:
        try:
            loss = msgspec.json.decode(content, type=_Loss)
        except msgspec.MsgspecError as exc:
            _log.error("what was told of a lost blob at %s is not understood: %s", subject, exc)
            return
        if self._take is not None:
            self._take(loss.site_id, loss.digest)
