"""Routes about hooks: those of a site, and the one that messages come to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from cdn.control.content import json_response, read_json
from cdn.control.hook_actions import HookActions
from cdn.control.hook_deliveries import InboundDelivery, is_delivery_id
from cdn.control.hook_receiver import HookReceiver
from cdn.control.hook_schema import (
    ChangeHook,
    CreateHook,
    DeliveryList,
    DeliveryReplayed,
    DeliveryView,
    HookAnswer,
    HookChangedView,
    HookCreatedView,
    HookList,
    HookRemovedView,
    HookView,
    RefusedView,
    RotateHook,
    WebhookAttempt,
)
from cdn.control.hook_secrets import KeptSecret, check_secret, make_secret
from cdn.control.route import Call
from cdn.control.schema import PositionView
from cdn.control.services import Services
from cdn.control.webhook_queue import Webhook, WebhookState, is_order_key
from cdn.errors import Conflict, InvalidInput, NotFound
from cdn.journal.hook_fold import MAX_HOOKS_PER_SITE, Hook
from cdn.journal.record import Change, HookRemoved, HookSet, Record
from cdn.purge.hook import (
    ActivateAction,
    Direction,
    HookSettings,
    InboundHook,
    OutboundHook,
    ResyncAction,
    hook_from,
    hook_to,
)
from cdn.sites.origin import BucketOrigin
from cdn.sites.site import Site

RECEIVER_PATH = "/v1/hooks/{hook_id}"

MAX_KEEP_S = 30 * 86_400.0
"""How long a secret may still count after another took its place."""

MOST_DELIVERIES = 200
DELIVERIES = 50
"""Listed at most, and unless told otherwise: each is an object that is read."""


class HooksApi:
    """Create, list, change, rotate, remove; what came and was sent; and take what comes."""

    def __init__(self, services: Services, actions: HookActions) -> None:
        self._services = services
        self._room = services.hook_room
        self._receiver = HookReceiver(services, services.hook_room, actions)

    async def receive(self, call: Call) -> web.Response:
        """Whoever calls needs no token: the signature counts."""
        wait_s = self._services.wait_s(call)
        received = await self._receiver.receive(call.path["hook_id"], call.request)
        receipt = None
        if received.record is not None:
            receipt = await self._services.receipt(received.record, wait_s)
        delivery = received.delivery
        answer = HookAnswer(delivery.id, delivery.state.value, delivery.says, received.is_repeated, receipt)
        return json_response(answer, 202 if receipt is not None and not receipt.complete else 200)

    async def create(self, call: Call) -> web.Response:
        services, site = self._services, self._services.site_of(call)
        wanted = await read_json(call.request, CreateHook, services.settings.max_request_bytes)
        direction, settings = self._settings_of(site, wanted.inbound, wanted.outbound)
        secret = make_secret(settings) if wanted.secret is None else check_secret(wanted.secret, direction)
        hook_id = secrets.token_hex(16)
        sealed = self._room.secrets.sealed(hook_id, (KeptSecret(secret),))
        if direction is Direction.OUT:
            position = services.state.position
            is_first = not services.hooks.count(direction.value)
            await self._room.queue.begin(position.epoch, position.sequence, is_first=is_first)

        def decide() -> Change:
            self._require_site(site)
            if len(services.hooks.of_site(site.id)) >= MAX_HOOKS_PER_SITE:
                raise Conflict(f"The site {site.name!r} has {MAX_HOOKS_PER_SITE} hooks, the limit: remove one first.")
            return HookSet(hook_id, site.id, direction.value, hook_to(settings), sealed)

        record = await services.state.append(_subject(site), decide, call.caller.actor)
        view = self._view(site, self._recorded(hook_id))
        return json_response(HookCreatedView(view, secret, _position(record)), 201)

    async def list(self, call: Call) -> web.Response:
        site = self._services.site_of(call)
        hooks = self._services.hooks.of_site(site.id).values()
        return json_response(HookList(tuple(self._view(site, hook) for hook in hooks)))

    async def show(self, call: Call) -> web.Response:
        site, hook = self._hook_of(call)
        return json_response(self._view(site, hook))

    async def change(self, call: Call) -> web.Response:
        site, hook = self._hook_of(call)
        wanted = await read_json(call.request, ChangeHook, self._services.settings.max_request_bytes)
        direction, settings = self._settings_of(site, wanted.inbound, wanted.outbound)
        if direction.value != hook.direction:
            raise InvalidInput(
                "A hook that receives does not become one that sends, nor the other way: create another."
            )
        record = await self._set(call, site, hook, lambda now: (hook_to(settings), now.sealed_secret))
        return json_response(HookChangedView(self._view(site, self._recorded(hook.id)), _position(record)))

    async def rotate(self, call: Call) -> web.Response:
        site, hook = self._hook_of(call)
        wanted = await read_json(call.request, RotateHook, self._services.settings.max_request_bytes)
        if not 0 <= wanted.keep_s <= MAX_KEEP_S:
            raise InvalidInput(f"keep_s is between 0 and {MAX_KEEP_S:.0f} seconds.", field="keep_s")
        settings = hook_from(Direction(hook.direction), hook.settings)
        secret = (
            make_secret(settings) if wanted.secret is None else check_secret(wanted.secret, Direction(hook.direction))
        )
        at = self._services.clock()
        record = await self._set(
            call, site, hook, lambda now: (now.settings, self._room.secrets.rotated(now, secret, at, wanted.keep_s))
        )
        return json_response(HookCreatedView(self._view(site, self._recorded(hook.id)), secret, _position(record)))

    async def remove(self, call: Call) -> web.Response:
        site, hook = self._hook_of(call)

        def decide() -> Change:
            self._present(site, hook.id)
            return HookRemoved(hook.id, site.id)

        record = await self._services.state.append(_subject(site), decide, call.caller.actor)
        return json_response(HookRemovedView(hook.id, _position(record)))

    async def deliveries(self, call: Call) -> web.Response:
        _, hook = self._hook_of(call)
        most = _limit(call.query.get("limit"))
        if hook.direction == Direction.IN.value:
            came = await self._room.deliveries.newest(hook.id, most)
            refused = tuple(
                RefusedView(each.at, each.peer, each.reason, each.says) for each in self._room.refused(hook.id)
            )
            return json_response(DeliveryList(tuple(map(_inbound, came)), refused))
        sent = await self._room.queue.newest(hook.id, most)
        return json_response(DeliveryList(tuple(map(_outbound, sent))))

    async def show_delivery(self, call: Call) -> web.Response:
        _, hook = self._hook_of(call)
        name = call.path["delivery_id"]
        if hook.direction == Direction.IN.value:
            held = await self._room.deliveries.read(hook.id, name) if is_delivery_id(name) else None
            view = None if held is None else _inbound(held.delivery)
        else:
            webhook = await self._room.queue.find(hook.id, name) if is_order_key(name) else None
            view = None if webhook is None else _outbound(webhook, with_content=True)
        if view is None:
            raise _no_delivery(hook, name)
        return json_response(view)

    async def replay(self, call: Call) -> web.Response:
        _, hook = self._hook_of(call)
        name = call.path["delivery_id"]
        if hook.direction == Direction.IN.value:
            raise Conflict("What came is not kept: let its sender send it again, which every vendor offers.")
        if not is_order_key(name) or await self._room.queue.again(hook.id, name) is None:
            raise _no_delivery(hook, name)
        return json_response(DeliveryReplayed(name), 202)

    # What these have in common.

    def _settings_of(
        self, site: Site, inbound: InboundHook | None, outbound: OutboundHook | None
    ) -> tuple[Direction, HookSettings]:
        if (inbound is None) == (outbound is None):
            raise InvalidInput("Give one of inbound and outbound.", field="inbound")
        given = inbound if inbound is not None else outbound
        direction = Direction.IN if inbound is not None else Direction.OUT
        settings = hook_from(direction, hook_to(given) if given is not None else {})
        match settings:
            case InboundHook(action=ResyncAction()) if not isinstance(site.settings.origin, BucketOrigin):
                raise InvalidInput(
                    f"The site {site.name!r} is not answered from a bucket, so there is nothing to follow: let the "
                    "hook purge or activate.",
                    field="inbound.action",
                )
            case InboundHook(action=ActivateAction()) if site.settings.is_pull:
                raise InvalidInput(
                    f"The site {site.name!r} is answered from {site.settings.origin}, so nothing is deployed to it: "
                    "let the hook purge.",
                    field="inbound.action",
                )
            case _:
                return direction, settings

    async def _set(
        self, call: Call, site: Site, hook: Hook, changed: Callable[[Hook], tuple[dict[str, Any], str]]
    ) -> Record:
        """`changed` gives settings and sealed secret for the hook as it is then."""

        def decide() -> Change:
            now = self._present(site, hook.id)
            settings, sealed = changed(now)
            return HookSet(hook.id, site.id, hook.direction, settings, sealed)

        return await self._services.state.append(_subject(site), decide, call.caller.actor)

    def _hook_of(self, call: Call) -> tuple[Site, Hook]:
        site = self._services.site_of(call)
        return site, self._present(site, call.path["hook_id"])

    def _present(self, site: Site, hook_id: str) -> Hook:
        """Raises NotFound, also for a hook of another site's (DESIGN I7)."""
        hook = self._services.hooks.of_site(site.id).get(hook_id)
        if hook is None:
            raise NotFound(f"The site {site.name!r} has no hook {hook_id[:80]!r}.")
        return hook

    def _recorded(self, hook_id: str) -> Hook:
        hook = self._services.hooks.get(hook_id)
        if hook is None:
            raise NotFound(f"The hook {hook_id} or its site was removed meanwhile.")
        return hook

    def _require_site(self, site: Site) -> None:
        if self._services.catalog.site(site.id) is None:
            raise NotFound(f"The site {site.name!r} was removed meanwhile.")

    def _view(self, site: Site, hook: Hook) -> HookView:
        settings = hook_from(Direction(hook.direction), hook.settings)
        is_in = isinstance(settings, InboundHook)
        return HookView(
            id=hook.id,
            site=site.name,
            created_at=hook.created_at,
            path=RECEIVER_PATH.format(hook_id=hook.id) if is_in else "",
            inbound=settings if isinstance(settings, InboundHook) else None,
            outbound=settings if isinstance(settings, OutboundHook) else None,
        )


def _inbound(delivery: InboundDelivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event=delivery.event,
        state=delivery.state.value,
        at=delivery.received_at,
        named=delivery.named,
        says=delivery.says,
        sequence=delivery.sequence,
        attempt_count=delivery.attempts,
    )


def _outbound(webhook: Webhook, *, with_content: bool = False) -> DeliveryView:
    return DeliveryView(
        id=webhook.key,
        event=webhook.event,
        state=webhook.state.value,
        at=webhook.at,
        named=webhook.name,
        says=webhook.says,
        sequence=webhook.sequence,
        attempts=tuple(WebhookAttempt(each.at, each.status, each.says) for each in webhook.attempts),
        attempt_count=webhook.attempt_count,
        next_at=webhook.next_at if webhook.state is WebhookState.DUE and webhook.next_at else None,
        content=msgspec.json.decode(webhook.content) if with_content and webhook.content else None,
    )


def _limit(text: str | None) -> int:
    if text is None:
        return DELIVERIES
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MOST_DELIVERIES:
        raise InvalidInput(f"limit is a number from 1 to {MOST_DELIVERIES}, not {text[:80]!r}.", field="limit")
    return int(text)


def _no_delivery(hook: Hook, name: str) -> NotFound:
    return NotFound(f"The hook {hook.id} has no delivery {name[:80]!r}, or it is too long ago.")


def _subject(site: Site) -> str:
    return f"hooks/{site.id}"


def _position(record: Record) -> PositionView:
    return PositionView(record.epoch, record.sequence)
