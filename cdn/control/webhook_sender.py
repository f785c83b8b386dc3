"""Sends messages to receivers: each receiver's in order, again and again for a day, by one replica at a time."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from cdn.control.hook_room import HookRoom
from cdn.control.office_turn import OfficeTurn
from cdn.control.services import Services
from cdn.control.webhook_events import WebhookEvents
from cdn.control.webhook_queue import MAX_ATTEMPTS_KEPT, Attempt, Webhook, WebhookState
from cdn.control.webhook_transport import Sent, WebhookTransport
from cdn.errors import CdnError, Unavailable
from cdn.fleet.position import Position
from cdn.journal.hook_fold import Hook
from cdn.journal.record import Record
from cdn.purge.hook import Direction, OutboundHook, hook_from
from cdn.purge.webhook import (
    GIVE_UP_S,
    GONE,
    MAX_REFUSALS,
    content_of,
    is_delivered,
    is_refusal,
    pause_s,
    signed_fields,
)

OFFICE = "webhooks"

RENEW_EVERY_S = 10.0
"""How often this replica says that it still sends: an office lasts for 60 s."""

SCAN_EVERY_S = 30.0
"""How often it is looked in the store for messages that another replica made due."""

CERTIFICATES_EVERY_S = 300.0

SWEEP_EVERY_S = 3600.0
"""How often what is old is forgotten."""

MAX_SENDING = 32
"""Receivers that are told something at one time; a receiver has 20 s."""

MAX_SENDING_OF_SITE = 4
"""A site's fair share of them while others wait."""

RECEIPT_WAIT_S = 5.0
"""One look at whether every node has what is told of; receivers of other messages are told meanwhile."""

LATE_S = 600.0
"""After which a receiver is told that it is not everywhere yet."""

FAULT_PAUSE_S = 5.0
"""Before the store or the journal is asked again."""

MAX_DUE = 1000
"""Messages that wait for one receiver; further ones are given up at once, and can be sent by hand."""

MAX_KEPT = 1000
"""Messages of one receiver that were sent or given up: the oldest are forgotten."""

log = logging.getLogger(__name__)


class WebhookSender:
    """Does its rounds while the office is this replica's."""

    def __init__(
        self,
        services: Services,
        room: HookRoom,
        transport: WebhookTransport,
        *,
        random_part: Callable[[], float] = random.random,
    ) -> None:
        self._services = services
        self._room = room
        self._queue = room.queue
        self._transport = transport
        self._random = random_part
        self._turn = OfficeTurn(
            services.offices, OFFICE, services.holder, renew_every_s=RENEW_EVERY_S, monotonic=services.monotonic
        )
        self._counters: Counter[str] = room.counters
        self._events = WebhookEvents(services, room.queue, room.counters, most_due=MAX_DUE)
        self._waiting: dict[str, list[str]] = {}
        self._due_at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._was_ours = False
        self._scan_at = self._certificates_at = self._sweep_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Rounds run from now on."""
        self._turn.start()
        self._services.state.watch(self._look_up)
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def aclose(self) -> None:
        """Stop: what is under way is sent again by whoever is next."""
        tasks = [*self._running.values(), *(task for task in (self._task, self._sweeping) if task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        await self._turn.aclose()
        await self._transport.aclose()

    @property
    def is_sending(self) -> bool:
        """Whether it is for this replica to send."""
        return self._turn.is_ours

    @property
    def waiting(self) -> int:
        """Messages that are due, as far as this replica sends them."""
        return sum(map(len, self._waiting.values()))

    def _look_up(self, position: Position) -> None:
        self._queue.moved.set()

    async def _run(self) -> None:
        while True:
            await self._turn.wait_ours()
            self._queue.moved.clear()
            pause = SCAN_EVERY_S
            try:
                pause = await self.round()
            except CdnError as error:
                log.warning("messages are sent later: %s", error)
                pause = FAULT_PAUSE_S
            except Exception:  # what this program cannot tell of must not stop everything else
                log.exception("messages are sent later")
                pause = FAULT_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._queue.moved.wait()

    async def round(self) -> float:
        """Write what happened, begin to send what is due; seconds until there may be more. Raises Unavailable."""
        if not self._turn.is_ours:
            self._forget()
            return SCAN_EVERY_S
        now = self._services.clock()
        is_due = not self._was_ours or not self._scan_at - SCAN_EVERY_S <= now < self._scan_at
        has_receivers = self._services.hooks.count(Direction.OUT.value) > 0 or bool(self._waiting)
        if has_receivers and (is_due or self._queue.is_changed):
            self._queue.is_changed = False
            await self._scan()
            self._scan_at = now + SCAN_EVERY_S
            self._was_ours = True
        await self._events.collect(self._waiting)
        if not self._certificates_at - CERTIFICATES_EVERY_S <= now < self._certificates_at:
            self._certificates_at = now + CERTIFICATES_EVERY_S
            await self._events.look_at_certificates(self._waiting, now)
        if not self._sweep_at - SWEEP_EVERY_S <= now < self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY_S
            if self._sweeping is None or self._sweeping.done():
                self._sweeping = asyncio.create_task(self._swept(now), name="webhooks-sweep")
        for hook_id in self._waiting:
            if hook_id not in self._due_at:
                self._set(hook_id, now)
        return self._begin(self._services.clock())

    async def settled(self) -> None:
        """Return once what was begun is done."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))
        if self._sweeping is not None:
            await asyncio.wait((self._sweeping,))

    def _forget(self) -> None:
        self._was_ours = False
        self._waiting, self._due_at, self._heap = {}, {}, []
        self._events.forget()

    async def _scan(self) -> None:
        """What is due in the store, written here or elsewhere."""
        found: dict[str, list[str]] = {}
        async for hook_id, key in self._queue.due():
            found.setdefault(hook_id, []).append(key)
        self._waiting.clear()
        for hook_id, keys in found.items():
            self._waiting[hook_id] = sorted(keys)

    async def _swept(self, now: float) -> None:
        """Beside the rounds: with many hooks it takes minutes, in which nobody would be told anything."""
        try:
            await self._sweep(now)
        except CdnError as error:
            log.warning("old messages are forgotten later: %s", error)
        except Exception:
            log.exception("old messages are forgotten later")

    async def _sweep(self, now: float) -> None:
        services, room = self._services, self._room
        kept_s, most = services.settings.hook_deliveries_kept_s, services.settings.max_hook_deliveries
        came, sent = await room.deliveries.hooks(), await self._queue.hooks()
        # What others wrote for a hook of which this replica has not heard yet is not that of a removed one.
        await services.state.catch_up((await services.state.journal.position()).sequence)
        for hook_id in came:
            if services.hooks.get(hook_id) is None:
                await room.deliveries.forget_hook(hook_id)
            else:
                await room.deliveries.sweep(hook_id, before=now - kept_s, most=most)
        for hook_id in sent:
            if services.hooks.get(hook_id) is None:
                await self._queue.forget_hook(hook_id)
                self._waiting.pop(hook_id, None)
            else:
                await self._queue.sweep(hook_id, most=MAX_KEPT)

    # Whose turn it is.

    def _set(self, hook_id: str, at: float) -> None:
        self._due_at[hook_id] = at
        heapq.heappush(self._heap, (at, hook_id))

    def _begin(self, now: float) -> float:
        passed: list[tuple[float, str]] = []
        while self._heap and len(self._running) < MAX_SENDING:
            at, hook_id = self._heap[0]
            if self._due_at.get(hook_id) != at or hook_id in self._running:
                heapq.heappop(self._heap)
                continue
            if at > now:
                break
            heapq.heappop(self._heap)
            if self._has_its_share(hook_id):
                passed.append((at, hook_id))
                continue
            self._running[hook_id] = asyncio.create_task(self._told(hook_id), name=f"webhook-{hook_id}")
        for each in passed:
            heapq.heappush(self._heap, each)
        if not self._heap or passed or len(self._running) >= MAX_SENDING:
            return SCAN_EVERY_S  # whoever is told now wakes us
        return min(SCAN_EVERY_S, max(0.01, self._heap[0][0] - now))

    def _has_its_share(self, hook_id: str) -> bool:
        hook = self._services.hooks.get(hook_id)
        if hook is None:
            return False
        of_site = self._services.hooks.of_site(hook.site_id)
        return sum(each in of_site for each in self._running) >= MAX_SENDING_OF_SITE

    async def _told(self, hook_id: str) -> None:
        """Tell one receiver its next message, and say when it is to be told more."""
        next_at: float | None = self._services.clock() + FAULT_PAUSE_S
        try:
            next_at = await self._tell(hook_id)
        except CdnError as error:
            log.warning("receiver %s is told later: %s", hook_id, error)
        except Exception:
            log.exception("receiver %s is told later", hook_id)
        finally:
            del self._running[hook_id]
            self._due_at.pop(hook_id, None)
            if next_at is not None and hook_id in self._waiting:
                self._set(hook_id, next_at)
            self._queue.moved.set()

    # One message.

    async def _tell(self, hook_id: str) -> float | None:
        """The wall time of the next try; None: nothing is due. Raises Unavailable."""
        keys = self._waiting.get(hook_id)
        if not keys:
            self._waiting.pop(hook_id, None)
            return None
        hook, settings = self._receiver(hook_id)
        if hook is None or settings is None:
            await self._queue.forget_hook(hook_id)
            self._waiting.pop(hook_id, None)
            return None
        webhook = await self._queue.read(hook_id, keys[0])
        now = self._services.clock()
        if webhook is None:
            return self._next(hook_id, keys[0])
        if webhook.next_at > now:
            return webhook.next_at
        if not webhook.content:
            finished = await self._finished(webhook)
            if finished is None:
                return now
            webhook = finished
        return await self._try(hook, settings, webhook)

    def _next(self, hook_id: str, key: str) -> float | None:
        """The message is done with: when the next one may be sent."""
        keys = self._waiting.get(hook_id, [])
        if key in keys:
            keys.remove(key)
        if keys:
            return self._services.clock()
        self._waiting.pop(hook_id, None)
        return None

    def _receiver(self, hook_id: str) -> tuple[Hook | None, OutboundHook | None]:
        hook = self._services.hooks.get(hook_id)
        if hook is None or hook.direction != Direction.OUT.value:
            return None, None
        settings = hook_from(Direction.OUT, hook.settings)
        return hook, settings if isinstance(settings, OutboundHook) else None

    async def _finished(self, webhook: Webhook) -> Webhook | None:
        """With its content, once every node has what it tells of; None: not yet."""
        data, kind = dict(webhook.data), webhook.event
        if webhook.sequence:
            record = await self._record(webhook)
            if record is not None:
                receipt = await self._services.receipt(record, RECEIPT_WAIT_S)
                if not receipt.complete and self._services.clock() < webhook.at + LATE_S:
                    return None
                if not receipt.complete:
                    kind = f"{kind.partition('.')[0]}.late"
                data["receipt"] = {
                    "complete": receipt.complete,
                    "completed_at": self._services.clock() if receipt.complete else None,
                    "counts": msgspec.to_builtins(receipt.counts),
                }
        content = content_of(kind, webhook.at, data).decode("utf-8")
        return msgspec.structs.replace(webhook, content=content, began_at=self._services.clock())

    async def _record(self, webhook: Webhook) -> Record | None:
        """None where the journal no longer has it: then every node has, or began anew."""
        state = self._services.state
        if webhook.epoch != state.position.epoch:
            return None
        records = await state.journal.read(webhook.sequence - 1, limit=1)
        return records[0] if isinstance(records, tuple) and records else None

    async def _try(self, hook: Hook, settings: OutboundHook, webhook: Webhook) -> float | None:
        now, content = self._services.clock(), webhook.content.encode("utf-8")
        if not self._turn.is_ours:
            return None
        try:
            secrets = self._room.secrets.counting(hook, now)
        except Unavailable as error:
            sent = Sent(None, error.message)
        else:
            fields = signed_fields(secrets, webhook.name, now, content)
            sent = await self._transport.send(settings, fields, content, now)
        now = self._services.clock()
        self._counters["webhook_attempts"] += 1
        tried = msgspec.structs.replace(
            webhook,
            began_at=webhook.began_at if webhook.began_at is not None else now,
            attempts=(*webhook.attempts, Attempt(now, sent.status, sent.says))[-MAX_ATTEMPTS_KEPT:],
            attempt_count=webhook.attempt_count + 1,
        )
        if is_delivered(sent.status):
            self._counters["webhooks_delivered"] += 1
            await self._queue.settle(
                msgspec.structs.replace(tried, state=WebhookState.DELIVERED, says="", settled_at=now)
            )
            return self._next(webhook.hook_id, webhook.key)
        return await self._failed(tried, sent, now)

    async def _failed(self, tried: Webhook, sent: Sent, now: float) -> float | None:
        failures = tried.failures + 1
        refusals = tried.refusals + is_refusal(sent.status)
        next_at = now + pause_s(failures, sent.retry_after_s, self._random())
        says = f"status {sent.status}: {sent.says}".removesuffix(": ") if sent.status is not None else sent.says
        began_at = tried.began_at if tried.began_at is not None else now
        is_over = next_at > began_at + GIVE_UP_S or refusals >= MAX_REFUSALS or sent.status == GONE
        tried = msgspec.structs.replace(tried, failures=failures, refusals=refusals, next_at=next_at, says=says)
        if is_over:
            self._counters["webhooks_dead"] += 1
            log.warning("message %s to hook %s is given up: %s", tried.name, tried.hook_id, says)
            await self._queue.settle(msgspec.structs.replace(tried, state=WebhookState.DEAD, settled_at=now))
            return self._next(tried.hook_id, tried.key)
        await self._queue.put_off(tried)
        return next_at
