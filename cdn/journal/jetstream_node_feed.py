"""The table of nodes as its readers need it: every change is brought, and one can know that nothing is missing."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

import msgspec

from cdn.journal.jetstream_api import JetStreamApi
from cdn.journal.jetstream_bucket import JetStreamBucket
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tail import Tail
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink, end_task

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """What `teller` (a process, by a name never used again) last put under a node's name; `facts` empty: nothing."""

    name: str
    teller: str
    facts: bytes


class JetStreamNodeFeed:
    """What is put for each name, compared and set by revision, and everything that others put, in order.

    Reading never asks: a consumer brings what changes. `barrier` says when everything put before it has arrived.
    """

    def __init__(self, link: NatsLink, bucket: JetStreamBucket, api: JetStreamApi) -> None:
        self.teller = secrets.token_hex(8)
        self._bucket = bucket
        self._take: Callable[[Told, int], None] | None = None
        self._tail = Tail(link, api, bucket.stream, last=0, take=self._arrived)
        self._moved = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._last = 0
        self._marking = asyncio.Lock()
        self._marks_begun = 0
        self._marked = (0, 0)  # the number of the last mark, and its revision
        self._mark_revision = 0

    @classmethod
    async def open(cls, link: NatsLink, settings: JetStreamSettings, *, expires_after_s: float) -> JetStreamNodeFeed:
        """The feed beside the journal of `settings`. Every process gives the same `expires_after_s`."""
        api = JetStreamApi(link, settings.domain)
        bucket = JetStreamBucket(link, api, f"{settings.name}-nodes")
        await bucket.settle(replicas=settings.replicas, expires_after_s=expires_after_s)
        return cls(link, bucket, api)

    def start(self, take: Callable[[Told, int], None]) -> None:
        """Call `take` with everything that is there and that comes, and its revision; also with what was put here."""
        self._take = take
        self._following = asyncio.create_task(self._tail.run(), name="node-feed")

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None:
        """Replace what is known of the name; its revision, None when another was quicker.

        When it returns a majority of the servers has it. Raises JournalUnavailable.
        """
        told = msgspec.json.encode(Told(name, self.teller, facts))
        return await self._bucket.put(name, told, expected_revision=expected_revision)

    async def get(self, name: str) -> tuple[Told | None, int]:
        """What the leader knows of the name, and its revision (0: nothing). Raises JournalUnavailable."""
        found = await self._bucket.get(name)
        return (_decoded(found.value) if found.value else None), found.revision

    async def barrier(self) -> None:
        """Return when everything has been taken that was put before this was called. Raises JournalUnavailable.

        Callers share: one question is under way, and those who come meanwhile wait for the one after it.
        """
        asked_after = self._marks_begun
        async with self._marking:
            if self._marked[0] <= asked_after:
                self._marks_begun += 1
                number = self._marks_begun
                self._marked = (number, await self._mark())
        revision = self._marked[1]
        while self._last < revision:
            await self._moved.wait()

    async def aclose(self) -> None:
        """Stop following; the link is not ours."""
        if self._following is not None:
            await end_task(self._following)

    async def _mark(self) -> int:
        """Put something of no meaning: whoever has taken it has taken what came before."""
        name = f"={self.teller}"  # no node is called so
        for _ in range(2):
            known = self._mark_revision
            revision = await self.put(name, b"", expected_revision=known)
            if revision is not None:
                self._mark_revision = revision
                return revision
            self._mark_revision = (await self.get(name))[1]
        raise JournalUnavailable("the table of nodes takes no marks: try again")

    def _arrived(self, sequence: int, subject: str, content: bytes) -> None:
        if content and self._take is not None:
            try:
                told = _decoded(content)
            except JournalUnavailable as exc:
                _log.error("what was put at %s is not understood: %s", subject, exc)
            else:
                if not told.name.startswith("="):
                    self._take(told, sequence)
        self._last = sequence
        self._moved.set()
        self._moved = asyncio.Event()


def _decoded(value: bytes) -> Told:
    try:
        return msgspec.json.decode(value, type=Told)
    except msgspec.MsgspecError as exc:
        raise JournalUnavailable(
            f"the table of nodes cannot be read ({exc}): was it written by a newer program?"
        ) from exc
