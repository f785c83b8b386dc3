"""Offices and the table of nodes in key-value buckets of JetStream, whose servers forget what is not renewed."""

from __future__ import annotations

import secrets
from typing import TypeVar

import msgspec
from cachetools import LRUCache

from cdn.journal.jetstream_api import JetStreamApi
from cdn.journal.jetstream_bucket import JetStreamBucket
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink
from cdn.journal.tenure import MARGIN, Tenure

MAX_RACES = 10
"""How often a node's facts are put again when another control put them meanwhile: a node speaks to one at a time."""

REMEMBERED_REVISIONS = 20_000
"""Nodes whose last revision is remembered, so that putting what they say costs one question, not two."""


_Kind = TypeVar("_Kind")


class _Held(msgspec.Struct, frozen=True):
    holder: str
    nonce: str


class _Known(msgspec.Struct, frozen=True):
    node_id: str
    facts: bytes


class JetStreamOffices:
    """See `Offices`."""

    def __init__(self, bucket: JetStreamBucket, duration_s: float) -> None:
        self._bucket = bucket
        self._duration_s = duration_s

    @classmethod
    async def open(
        cls, link: NatsLink, settings: JetStreamSettings, *, duration_s: float, bucket_name: str = "offices"
    ) -> JetStreamOffices:
        """The offices beside the journal of `settings`, those that last as long in a bucket.

        Every process gives the same `duration_s`.
        """
        bucket = JetStreamBucket(link, JetStreamApi(link, settings.domain), f"{settings.name}-{bucket_name}")
        await bucket.settle(replicas=settings.replicas, expires_after_s=duration_s)
        return cls(bucket, duration_s)

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        """See `Offices.acquire`."""
        found = await self._bucket.get(office)
        if found.value and _decoded(found.value, _Held).holder != holder:
            return None
        content = msgspec.json.encode(_Held(holder, secrets.token_hex(8)))
        revision = await self._bucket.put(office, content, expected_revision=found.revision)
        if revision is None:
            return None
        return Tenure(office, holder, revision, now + self._duration_s * (1 - MARGIN))

    async def release(self, tenure: Tenure) -> None:
        """See `Offices.release`."""
        await self._bucket.put(tenure.office, b"", expected_revision=tenure.token)


class JetStreamNodeTable:
    """See `NodeTable`."""

    def __init__(self, bucket: JetStreamBucket) -> None:
        self._bucket = bucket
        self._revisions: LRUCache[str, int] = LRUCache(REMEMBERED_REVISIONS)

    @classmethod
    async def open(
        cls, link: NatsLink, settings: JetStreamSettings, *, expires_after_s: float, bucket_name: str = "nodes"
    ) -> JetStreamNodeTable:
        """The table beside the journal of `settings`. Every process gives the same `expires_after_s`."""
        bucket = JetStreamBucket(link, JetStreamApi(link, settings.domain), f"{settings.name}-{bucket_name}")
        await bucket.settle(replicas=settings.replicas, expires_after_s=expires_after_s)
        return cls(bucket)

    async def put(self, node_id: str, facts: bytes) -> None:
        """See `NodeTable.put`."""
        await self._put(node_id, msgspec.json.encode(_Known(node_id, facts)))

    async def remove(self, node_id: str) -> None:
        """See `NodeTable.remove`."""
        await self._put(node_id, b"")

    async def all(self) -> dict[str, bytes]:
        """See `NodeTable.all`."""
        known = [_decoded(value, _Known) for value in (await self._bucket.entries()).values()]
        return {one.node_id: one.facts for one in known}

    async def _put(self, node_id: str, content: bytes) -> None:
        revision = self._revisions.pop(node_id, None)
        for _ in range(MAX_RACES):
            if revision is None:
                revision = (await self._bucket.get(node_id)).revision
            stored = await self._bucket.put(node_id, content, expected_revision=revision)
            if stored is not None:
                self._revisions[node_id] = stored
                return
            revision = None
        raise JournalUnavailable(f"others keep changing what is known of node {node_id}: it may be connected twice")


def _decoded(value: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as exc:
        raise JournalUnavailable(
            f"a value in a bucket cannot be read: {exc}; was it written by a newer program?"
        ) from exc
