"""What happened becomes messages to those who want to know: read from the journal, so that nothing is forgotten.

The place up to which the journal was read is kept in the store beside the messages, and moves after they are written: a
control that dies in between reads the same records again and writes the same messages.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from cachetools import LRUCache

from cdn.control.domain_schema import CertificateState
from cdn.control.domain_views import certificate_state
from cdn.control.services import Services
from cdn.control.views import url_of
from cdn.control.webhook_queue import (
    FORMAT,
    Added,
    Attempt,
    Cursor,
    Webhook,
    WebhookQueue,
    WebhookState,
    new_webhook,
    order_key,
)
from cdn.errors import CdnError
from cdn.fleet.position import Position
from cdn.journal.certificate_fold import CertificateFacts
from cdn.journal.hook_fold import Hook
from cdn.journal.journal import Trimmed
from cdn.journal.record import DeployActivated, Purged, PurgeScope, Record
from cdn.purge.hook import Direction, OutboundEvent, OutboundHook, hook_from
from cdn.purge.webhook import MAX_CONTENT_BYTES, message_id

READ_BATCH = 1000
"""Records looked at between two writes of the cursor."""

KEEP_CURSOR_EVERY_S = 60.0
"""Records that nobody wants to know of move the cursor no more often: a start reads as many again."""

SLACK_S = 5.0
"""A record counts for a hook that was made so much later: clocks of replicas differ."""

MAX_SCOPES_TOLD = 100
"""Of one purge; its count says how many there are."""

MAX_SCOPES_TOLD_BYTES = MAX_CONTENT_BYTES // 2
"""All of them together: a URL has up to 8 kB, and a thousand messages are kept for each receiver."""

MONTH_S = 30 * 86_400.0
"""In which a receiver is told once of a certificate that is in the same trouble."""

MAX_TOLD = 10_000
"""Troubles that are known to be told, in memory; of others the store is asked."""

log = logging.getLogger(__name__)


class WebhookEvents:
    """Makes messages."""

    def __init__(self, services: Services, queue: WebhookQueue, counters: Counter[str], *, most_due: int) -> None:
        """`most_due`: messages that may wait for one receiver."""
        self._services = services
        self._queue = queue
        self._counters = counters
        self._most_due = most_due
        self._cursor: Cursor | None = None
        self._kept_at = 0.0
        self._told: LRUCache[tuple[str, str], None] = LRUCache(MAX_TOLD)

    def forget(self) -> None:
        """Another replica may make messages from now on: where it stands is read again."""
        self._cursor = None

    async def collect(self, waiting: dict[str, list[str]]) -> None:
        """Write the messages of all records that there are. `waiting` holds the keys of those that are due, by hook,
        and is added to. Raises Unavailable."""
        end = self._services.state.position
        if not self._services.hooks.count(Direction.OUT.value):
            self._pass_by(end)
            return
        cursor = await self._begun()
        if cursor is None:
            return
        if cursor.epoch != end.epoch:
            log.warning("the journal began another epoch: messages tell of what happens from %d on", end.sequence)
            cursor = await self._moved(Cursor(FORMAT, cursor.era + 1, end.epoch, end.sequence), must_keep=True)
        while cursor.sequence < end.sequence:
            records = await self._services.state.journal.read(cursor.sequence, limit=READ_BATCH)
            if isinstance(records, Trimmed):
                lost = records.first_sequence - 1 - cursor.sequence
                log.error("%d records are no longer kept, and nobody was told of what happened in them", lost)
                self._counters["webhook_records_lost"] += lost
                cursor = await self._moved(
                    Cursor(FORMAT, cursor.era, cursor.epoch, records.first_sequence - 1), must_keep=True
                )
                continue
            if not records:
                return
            has_written = False
            for record in records:
                for webhook in self._of_record(cursor.era, record):
                    has_written = await self._add(webhook, waiting) or has_written
            last = Cursor(FORMAT, cursor.era, cursor.epoch, records[-1].sequence)
            cursor = await self._moved(last, must_keep=has_written)

    async def look_at_certificates(self, waiting: dict[str, list[str]], now: float) -> None:
        """Write the messages of certificates that end too soon, each once a month. Raises Unavailable."""
        cursor = self._cursor
        if cursor is None:
            return
        services = self._services
        for facts in services.certificates.certificates():
            state = certificate_state(facts, now)
            if not facts.site_id or state not in (CertificateState.ENDING, CertificateState.OVER):
                continue
            month = int(now // MONTH_S)
            named = f"{facts.certificate_id} {facts.name} {state.value} {month}"
            trouble = hashlib.sha256(named.encode()).hexdigest()[:16]
            for hook, _ in self._wanting(facts.site_id, OutboundEvent.CERTIFICATE_TROUBLE, now):
                if (hook.id, trouble) in self._told:
                    continue
                if not await self._queue.is_told(hook.id, trouble):
                    key = order_key(cursor.era, services.state.position.sequence, trouble)
                    name = message_id(hook.id, trouble)
                    data = self._trouble(facts, state)
                    event = OutboundEvent.CERTIFICATE_TROUBLE.value
                    await self._add(
                        new_webhook(key, hook.id, hook.site_id, event, name, now, cursor.epoch, 0, data), waiting
                    )
                    await self._queue.note_told(hook.id, trouble)
                self._told[hook.id, trouble] = None

    def _pass_by(self, end: Position) -> None:
        """Nobody wants to know anything."""
        if self._cursor is not None:
            is_same = self._cursor.epoch == end.epoch
            self._cursor = Cursor(FORMAT, self._cursor.era + (not is_same), end.epoch, end.sequence)

    async def _begun(self) -> Cursor | None:
        if self._cursor is None:
            self._cursor = await self._queue.cursor()
        return self._cursor

    async def _moved(self, cursor: Cursor, *, must_keep: bool) -> Cursor:
        now = time.monotonic()
        if must_keep or now - self._kept_at > KEEP_CURSOR_EVERY_S:
            await self._queue.keep_cursor(cursor)
            self._kept_at = now
        self._cursor = cursor
        return cursor

    async def _add(self, webhook: Webhook, waiting: dict[str, list[str]]) -> bool:
        keys = waiting.setdefault(webhook.hook_id, [])
        if len(keys) >= self._most_due:
            says = f"{self._most_due} messages wait for this receiver already"
            full = Attempt(self._services.clock(), None, says)
            webhook = msgspec.structs.replace(
                webhook, state=WebhookState.DEAD, says=says, attempts=(full,), settled_at=full.at
            )
            self._counters["webhooks_dead"] += 1
        added = await self._queue.add(webhook)
        self._counters["webhooks"] += added is Added.NOW
        if webhook.state is WebhookState.DUE and added is not Added.SETTLED and webhook.key not in keys:
            keys.append(webhook.key)
            keys.sort()
        elif not keys:
            del waiting[webhook.hook_id]
        return added is not Added.SETTLED

    def _of_record(self, era: int, record: Record) -> Iterable[Webhook]:
        match record.change:
            case DeployActivated() as change:
                event, site_id = OutboundEvent.DEPLOY_LIVE, change.site_id
            case Purged() as change:
                event, site_id = OutboundEvent.PURGE_DONE, change.site_id
            case _:
                return
        hooks = self._wanting(site_id, event, record.at)
        if not hooks:
            return
        data = self._data(record)
        key = order_key(era, record.sequence)
        for hook, _ in hooks:
            name = message_id(hook.id, record.epoch, record.sequence)
            yield new_webhook(key, hook.id, site_id, event.value, name, record.at, record.epoch, record.sequence, data)

    def _wanting(self, site_id: str, event: OutboundEvent, at: float) -> Sequence[tuple[Hook, OutboundHook]]:
        found = []
        for hook in self._services.hooks.of_site(site_id).values():
            if hook.direction != Direction.OUT.value or hook.created_at > at + SLACK_S:
                continue
            try:
                settings = hook_from(Direction.OUT, hook.settings)
            except CdnError as error:  # of a newer program
                log.warning("hook %s cannot be read: %s", hook.id, error)
                continue
            if isinstance(settings, OutboundHook) and settings.wants(event):
                found.append((hook, settings))
        return found

    def _data(self, record: Record) -> dict[str, Any]:
        services, change = self._services, record.change
        data: dict[str, Any] = {"sequence": record.sequence, "epoch": record.epoch, "recorded_at": record.at}
        match change:
            case DeployActivated():
                site = services.catalog.site(change.site_id)
                deploy = services.catalog.deploy(change.site_id, change.deploy_id)
                data |= {"site": "" if site is None else site.name, "alias": change.alias}
                data["url"] = "" if site is None else url_of(services.settings, site, change.alias)
                data["deploy"] = {"id": change.deploy_id}
                if deploy is not None:
                    data["deploy"] |= {
                        "author": deploy.author,
                        "message": deploy.message,
                        "commit": deploy.commit,
                        "file_count": deploy.file_count,
                        "size_bytes": deploy.size_bytes,
                    }
            case Purged():
                site = services.catalog.site(change.site_id)
                data |= {"site": "" if site is None else site.name, "soft": change.soft}
                data |= {"scopes": _told_of(change.scopes), "scope_count": len(change.scopes)}
            case _:
                pass
        return data

    def _trouble(self, facts: CertificateFacts, state: CertificateState) -> dict[str, Any]:
        site = self._services.catalog.site(facts.site_id)
        return {
            "site": "" if site is None else site.name,
            "name": facts.name,
            "state": state.value,
            "not_after": facts.not_after,
            "issuer": facts.issuer,
        }


def _told_of(scopes: Sequence[PurgeScope]) -> list[dict[str, str]]:
    """The first of them, as many as there is room for."""
    told, left_bytes = list[dict[str, str]](), MAX_SCOPES_TOLD_BYTES
    for scope in scopes[:MAX_SCOPES_TOLD]:
        one = {"kind": scope.kind, "value": scope.value}
        left_bytes -= len(msgspec.json.encode(one))
        if left_bytes < 0:
            break
        told.append(one)
    return told
