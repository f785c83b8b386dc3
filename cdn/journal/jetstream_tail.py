"""The end of the stream as it grows: an ordered consumer that is made anew, where it stood, whenever it breaks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cdn.journal.jetstream_api import RETRY_PAUSE_S, JetStreamApi
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink

HEARTBEAT_S = 0.5
"""How often the server says that there is nothing new."""

SILENCE_S = 2.5
"""A consumer that says nothing for this long is given up and made anew."""

ABANDONED_AFTER_S = 30.0
"""The server forgets a consumer that nobody has listened to for this long."""

_log = logging.getLogger(__name__)


class Tail:
    """Gives `take` every message of the stream above `last`, once and in order: its sequence, NATS subject, content."""

    def __init__(
        self, link: NatsLink, api: JetStreamApi, stream: str, *, last: int, take: Callable[[int, str, bytes], None]
    ) -> None:
        self._link = link
        self._api = api
        self._stream = stream
        self._take = take
        self.last = last
        self.heard_at = time.monotonic()
        """When the server last said anything, in monotonic seconds."""
        self.consumers = 0
        """Consumers made so far: one more for every break."""

    async def run(self) -> None:
        """Follow for ever."""
        told = ""
        while True:
            try:
                await self._follow()
            except JournalUnavailable as exc:
                if exc.message != told:
                    _log.warning("the tail of %s is interrupted at %d: %s", self._stream, self.last, exc)
                told = exc.message
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _follow(self) -> None:
        """Follow one consumer until it breaks. Raises JournalUnavailable when it cannot be made."""
        client = await self._link.client()
        consumer = _Consumer(self, client)
        inbox = client.new_inbox()
        try:
            subscription = await client.subscribe(inbox, cb=consumer.take)
        except nats.errors.Error as exc:
            raise JournalUnavailable(f"no consumer of {self._stream} can be made: {exc!r}") from exc
        try:
            await self._api.ask(
                f"CONSUMER.CREATE.{self._stream}", {"stream_name": self._stream, "config": self._config(inbox)}
            )
            self.consumers += 1
            self.heard_at = time.monotonic()
            while not consumer.is_broken.is_set() and not client.is_closed:
                quiet_s = time.monotonic() - self.heard_at
                if quiet_s >= SILENCE_S:
                    raise JournalUnavailable(f"the consumer of {self._stream} has said nothing for {quiet_s:.1f} s")
                try:
                    async with asyncio.timeout(min(HEARTBEAT_S, SILENCE_S - quiet_s)):
                        await consumer.is_broken.wait()
                except TimeoutError:
                    continue
        finally:
            if not client.is_closed:
                await subscription.unsubscribe()

    def _config(self, inbox: str) -> dict[str, Any]:
        return {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.last + 1,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            "inactive_threshold": int(ABANDONED_AFTER_S * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
        }

    def deliver(self, sequence: int, subject: str, content: bytes) -> None:
        """The next message has arrived."""
        if sequence <= self.last:
            return  # delivered by the consumer before this one
        self._take(sequence, subject, content)
        self.last = sequence


class _Consumer:
    """Checks that one consumer's messages arrive without a gap: `is_broken` when one was lost on the way."""

    def __init__(self, tail: Tail, client: Client) -> None:
        self._tail = tail
        self._client = client
        self._delivered = 0
        self.is_broken = asyncio.Event()

    async def take(self, message: Msg) -> None:
        if self.is_broken.is_set():
            return
        self._tail.heard_at = time.monotonic()
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "100":
            await self._control(message, headers)
        elif status is not None:
            _log.warning("the consumer ended with status %s", status)
            self.is_broken.set()
        else:
            place = message.metadata.sequence
            if place.consumer != self._delivered + 1:
                self.is_broken.set()
                return
            self._delivered = place.consumer
            self._tail.deliver(place.stream, message.subject, message.data)

    async def _control(self, message: Msg, headers: dict[str, str]) -> None:
        last_delivered = headers.get("Nats-Last-Consumer")
        if last_delivered is not None and int(last_delivered) > self._delivered:
            self.is_broken.set()
            return
        answer_to = message.reply or headers.get("Nats-Consumer-Stalled")
        if answer_to:
            await self._client.publish(answer_to)
