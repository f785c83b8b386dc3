"""The road of a message that came to a hook: whose it is, whether it came before, what it is about, what is done.

Nothing is looked at before the signature, and nothing is kept of what has a wrong one. The same message is worked on
once, however often it comes and at whatever replica: see `hook_deliveries`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from cdn.control.content import read_content
from cdn.control.hook_actions import HookActions
from cdn.control.hook_deliveries import (
    FORMAT,
    MAX_SAYS_CHARS,
    DeliveryState,
    HeldDelivery,
    InboundDelivery,
    new_delivery_id,
)
from cdn.control.hook_room import HookRoom, RefusedMessage
from cdn.control.services import Services
from cdn.errors import CdnError, NotFound, TooLarge, Unauthorized, Unavailable
from cdn.journal.hook_fold import Hook
from cdn.journal.record import DeployActivated, Purged, Record
from cdn.purge.hook import Direction, InboundHook, Scheme, hook_from
from cdn.purge.hook_event import HookEvent, event_of, message_of, reason_to_ignore
from cdn.purge.hook_plan import ActivatePlan, NothingToDo, Plan, PurgePlan, plan_of
from cdn.purge.hook_signature import Genuine, Message, Refused, judge
from cdn.sites.origin import BucketOrigin
from cdn.sites.site import Site

WORK_S = 100.0
"""How long what a message makes happen may take: an activation looks at every blob of its deploy."""

CLAIM_S = 120.0
"""After which another may work on a message whose replica has said nothing more."""

ELSEWHERE_S = 8.0
"""How long a message that is being worked on is waited for: senders give up after about ten seconds."""

ELSEWHERE_PAUSE_S = 0.25

DECODE_ASIDE_BYTES = 256 * 1024
"""Longer JSON is decoded on a thread."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a message. `record` None: nothing was done, or it is no longer known; `is_repeated`: it came
    before, and nothing was done now."""

    delivery: InboundDelivery
    record: Record | None
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class _Arrival:
    hook: Hook
    settings: InboundHook
    site: Site
    event: HookEvent
    genuine: Genuine
    names: tuple[str, ...]


class HookReceiver:
    """Takes messages."""

    def __init__(self, services: Services, room: HookRoom, actions: HookActions) -> None:
        self._services = services
        self._room = room
        self._actions = actions

    async def receive(self, hook_id: str, request: web.Request) -> Received:
        """Take one message and do what it makes happen.

        Raises NotFound, Unauthorized (the reason is told to its sender), TooLarge, InvalidInput; Unavailable and
        TooMany: send it again; and what the action raises, which is done again when the message comes again.
        """
        services = self._services
        await services.state.look()
        hook, settings, site = self._hook(hook_id)
        async with self._room.turns.take(site.id):
            arrival = await self._judged(hook, settings, site, request)
        self._room.counters["hook_messages"] += 1
        self._room.rate.take(hook.id)  # only who has a secret may use it up
        return await self._once(arrival)

    def _hook(self, hook_id: str) -> tuple[Hook, InboundHook, Site]:
        hook = self._services.hooks.get(hook_id)
        site = None if hook is None else self._services.catalog.site(hook.site_id)
        settings = None if hook is None or site is None else hook_from(Direction(hook.direction), hook.settings)
        if hook is None or site is None or not isinstance(settings, InboundHook):
            raise NotFound("There is no hook here that receives messages: was it removed?")
        return hook, settings, site

    async def _judged(self, hook: Hook, settings: InboundHook, site: Site, request: web.Request) -> _Arrival:
        try:
            content = await read_content(request, self._services.settings.max_hook_bytes)
        except TooLarge as error:
            self._refuse(hook.id, request, Refused("too-large", error.message))
            raise
        fields: dict[str, str] = {}
        for name, value in request.headers.items():
            lower = name.lower()
            fields[lower] = f"{fields[lower]}, {value}" if lower in fields else value
        now = self._services.clock()
        judgement = judge(
            settings, self._room.secrets.counting(hook, now), Message(fields, content, request.query.get("token")), now
        )
        if isinstance(judgement, Refused):
            self._refuse(hook.id, request, judgement)
            raise Unauthorized(judgement.says)
        try:
            message = await _decoded(content, request.headers.get("Content-Type", ""))
        except CdnError as error:
            self._refuse(hook.id, request, Refused("no-json", error.message))
            raise
        event = await asyncio.to_thread(event_of, settings, fields, message)
        return _Arrival(hook, settings, site, event, judgement, _names(settings, judgement, content, message))

    def _refuse(self, hook_id: str, request: web.Request, refused: Refused) -> None:
        peer = request.remote or ""
        log.info("a message from %s to hook %s is refused: %s", peer, hook_id, refused.reason)
        self._room.refuse(hook_id, RefusedMessage(self._services.clock(), peer, refused.reason, refused.says))

    # The same message is worked on once.

    async def _once(self, arrival: _Arrival) -> Received:
        now, room = self._services.clock(), self._room
        fresh = InboundDelivery(
            FORMAT,
            new_delivery_id(now),
            arrival.hook.id,
            now,
            DeliveryState.WORKING,
            event=arrival.event.name[:100],
            named=arrival.genuine.delivery,
            began=self._services.state.position.sequence,
            worked_until=now + CLAIM_S,
        )
        held = await room.deliveries.claim(fresh, arrival.names)
        if held.delivery.id == fresh.id:
            return await self._worked(arrival, held, is_first=True)
        room.counters["hook_messages_repeated"] += 1
        held = await self._settled(held)
        delivery = held.delivery
        match delivery.state:
            case DeliveryState.DONE | DeliveryState.IGNORED:
                return Received(delivery, await self._record_of(delivery), is_repeated=True)
            case DeliveryState.WORKING | DeliveryState.FAILED:
                again = msgspec.structs.replace(
                    delivery,
                    state=DeliveryState.WORKING,
                    worked_until=self._services.clock() + CLAIM_S,
                    attempts=delivery.attempts + 1,
                )
                if not await room.deliveries.write(held, again):
                    raise _elsewhere()
                taken = await room.deliveries.read(delivery.hook_id, delivery.id)
                if taken is None or taken.delivery != again:
                    raise _elsewhere()
                return await self._worked(arrival, taken, is_first=False)

    async def _settled(self, held: HeldDelivery) -> HeldDelivery:
        """The delivery once nobody works on it. Raises Unavailable when that takes too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ELSEWHERE_S
        while held.delivery.state is DeliveryState.WORKING and held.delivery.worked_until > self._services.clock():
            if loop.time() > until:
                raise _elsewhere()
            await asyncio.sleep(ELSEWHERE_PAUSE_S)
            found = await self._room.deliveries.read(held.delivery.hook_id, held.delivery.id)
            if found is None:
                raise _elsewhere()
            held = found
        return held

    async def _worked(self, arrival: _Arrival, held: HeldDelivery, *, is_first: bool) -> Received:
        delivery = held.delivery
        ignored = await asyncio.to_thread(reason_to_ignore, arrival.settings, arrival.event)
        if ignored is not None:
            return await self._ended(delivery, DeliveryState.IGNORED, f"ignored: {ignored}", None)
        actor = f"hook:{delivery.hook_id}:{delivery.id}"
        try:
            async with asyncio.timeout(WORK_S):
                plan = await asyncio.to_thread(self._plan, arrival)
                if isinstance(plan, NothingToDo):
                    return await self._ended(delivery, DeliveryState.IGNORED, f"nothing to do: {plan.says}", None)
                record = None
                if not is_first:
                    seen = self._services.state.position.sequence
                    record = await self._actions.done(arrival.site, plan, actor, delivery.began)
                    # What was looked through is not looked through again: it may be a month of records.
                    delivery = msgspec.structs.replace(delivery, began=max(seen, delivery.began))
                if record is None:
                    record = await self._actions.do(arrival.site, plan, actor)
        except TimeoutError as error:
            failed = Unavailable("What the message makes happen took too long: send it again.")
            await self._ended(delivery, DeliveryState.FAILED, failed.message, None)
            raise failed from error
        except CdnError as error:
            await self._ended(delivery, DeliveryState.FAILED, error.message, None)
            self._room.counters["hook_actions_failed"] += 1
            raise
        self._room.counters["hook_actions"] += 1
        return await self._ended(delivery, DeliveryState.DONE, _said(plan, record), record)

    def _plan(self, arrival: _Arrival) -> Plan:
        settings = arrival.site.settings
        bucket = settings.origin if isinstance(settings.origin, BucketOrigin) else None
        return plan_of(arrival.settings, arrival.event, bucket, settings.query)

    async def _ended(
        self, delivery: InboundDelivery, state: DeliveryState, says: str, record: Record | None
    ) -> Received:
        ended = msgspec.structs.replace(
            delivery,
            state=state,
            says=says[:MAX_SAYS_CHARS],
            epoch="" if record is None else record.epoch,
            sequence=0 if record is None else record.sequence,
            worked_until=0.0,
        )
        try:
            await self._room.deliveries.keep(ended)
        except Unavailable as error:
            # What was done is recorded, and found there when the message comes again.
            log.warning("what became of delivery %s is not kept: %s", delivery.id, error)
        return Received(ended, record, is_repeated=False)

    async def _record_of(self, delivery: InboundDelivery) -> Record | None:
        """What came of it, as long as the journal has it."""
        state = self._services.state
        if not delivery.sequence or delivery.epoch != state.position.epoch:
            return None
        records = await state.journal.read(delivery.sequence - 1, limit=1)
        return records[0] if isinstance(records, tuple) and records else None


def _names(settings: InboundHook, genuine: Genuine, content: bytes, message: Any) -> tuple[str, ...]:
    """What a message is known by when it comes again.

    Where its signature covers neither a time nor a name, somebody who has seen it could send it again under another
    name: it is known by its content first, so that those who race for it meet there.
    """
    names = [f"named {genuine.delivery}"] if genuine.delivery else []
    match settings.scheme:
        case Scheme.STRIPE:
            match message:
                case {"id": str() as name} if name:
                    names.append(f"named {name}")
                case _:
                    names.append(f"content {hashlib.sha256(content).hexdigest()}")
        case Scheme.GITHUB | Scheme.BITBUCKET:
            names.insert(0, f"content {hashlib.sha256(content).hexdigest()}")
        case _:
            pass
    return tuple(names)


def _said(plan: Plan, record: Record) -> str:
    match plan, record.change:
        case PurgePlan(is_widened=True), Purged():
            return "everything is purged: the message names more than one purge may"
        case _, Purged(scopes=scopes, soft=soft):
            named = "1 scope is" if len(scopes) == 1 else f"{len(scopes)} scopes are"
            what = "everything is" if scopes[0].kind == "everything" else named
            return f"{what} purged{', softly' if soft else ''}"
        case ActivatePlan(), DeployActivated(alias=alias, deploy_id=deploy_id):
            return f"deploy {deploy_id} is active on {alias}"
        case _:
            return "done"


async def _decoded(content: bytes, media_type: str) -> Any:
    if len(content) > DECODE_ASIDE_BYTES:
        return await asyncio.to_thread(message_of, content, media_type)
    return message_of(content, media_type)


def _elsewhere() -> Unavailable:
    return Unavailable(
        "This message is being worked on already: send it again to hear what came of it.", retry_after_s=5
    )
