"""Questions that one process beside the journal puts to another, over the same connection to NATS. Nothing is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink, end_task

MAX_ANSWER_BYTES = 512 * 1024
"""Half of what a NATS server takes as one message unless told otherwise."""

MAX_ANSWERING = 64
"""Questions worked on at a time; more are not answered, and whoever asked says so."""

LOOK_EVERY_S = 0.5
"""How often it is looked whether the connection was replaced: a new one knows nothing of who listens."""

Answer = Callable[[bytes], Awaitable[bytes]]

_log = logging.getLogger(__name__)


class NatsLine:
    """One end of it: `own` is the name under which others ask this process."""

    def __init__(self, link: NatsLink, journal_name: str, own: str) -> None:
        self.own = own
        self._link = link
        self._prefix = f"{journal_name}-line."
        self._answer: Answer | None = None
        self._listening: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def start(self, answer: Answer) -> None:
        """Answer what comes from now on; `answer` raises nothing."""
        self._answer = answer
        self._listening = asyncio.create_task(self._listen(), name="replica-line")

    async def ask(self, whom: str, question: bytes, *, timeout_s: float) -> bytes:
        """The answer of the process that listens as `whom`.

        Raises NatsSilent when none came in time, JournalUnavailable when nobody listens or NATS is away.
        """
        return (await self._link.request(self._prefix + whom, question, timeout_s=timeout_s)).data

    async def aclose(self) -> None:
        """Answer nothing more; the link is not ours."""
        if self._listening is not None:
            await end_task(self._listening)
            self._listening = None
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                client = await self._link.client()
                subscription = await client.subscribe(self._prefix + self.own, cb=self._asked)
            except (JournalUnavailable, nats.errors.Error) as exc:
                _log.info("other replicas cannot ask this one now: %r", exc)
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            try:
                while not client.is_closed and await self._is_current(client):  # noqa: ASYNC110 - a link tells nobody
                    await asyncio.sleep(LOOK_EVERY_S)
            finally:
                if not client.is_closed:
                    await subscription.unsubscribe()

    async def _is_current(self, client: Client) -> bool:
        try:
            return await self._link.client() is client
        except JournalUnavailable:
            return False

    async def _asked(self, message: Msg) -> None:
        if len(self._answering) >= MAX_ANSWERING or not message.reply:
            return
        task = asyncio.create_task(self._reply(message))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _reply(self, message: Msg) -> None:
        assert self._answer is not None, "it listens only when it can answer"
        answer = await self._answer(message.data)
        if len(answer) > MAX_ANSWER_BYTES:
            _log.warning("an answer of %d bytes to another replica is longer than %d", len(answer), MAX_ANSWER_BYTES)
            return
        try:
            await message.respond(answer)
        except nats.errors.Error as exc:
            _log.info("another replica was not answered: %r", exc)
