"""Messages of ours on their way, in the object store: what is due, and what became of the others.

A message is written before anybody is told of it, and moves from `due` to `sent` when it was taken or given up. Its key
is in order of what happened, so each receiver is told in that order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from cdn.errors import Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome

DUE = "control/hooks/due/"
SENT = "control/hooks/sent/"
TOLD = "control/hooks/told/"
CURSOR = "control/hooks/cursor"

FORMAT = 1
"""Of documents; one of a newer form is left to a newer program."""

MAX_ATTEMPTS_KEPT = 20
"""Of one message; the count goes on."""

CONCURRENT_READS = 16


class WebhookState(Enum):
    """How far a message is."""

    DUE = "due"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up; it can be sent again by hand


class Added(Enum):
    """What became of writing a message."""

    NOW = "now"
    BEFORE = "before"  # its writer did not hear that it was there, or died
    SETTLED = "settled"  # it was sent, or given up


class Attempt(msgspec.Struct, frozen=True):
    """One try. `status` None: there was no answer; `says` is why, or the beginning of what was answered."""

    at: float
    status: int | None
    says: str


class Webhook(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message to one receiver. Times are wall time in seconds. `name` is its `webhook-id`; `data` is what is known
    when it happens, `content` what is sent, once its receipt is known. `began_at` is when it was first tried;
    `failures` and `refusals` count tries."""

    format: int
    key: str
    hook_id: str
    site_id: str
    event: str
    name: str
    at: float
    epoch: str
    sequence: int
    data: dict[str, Any]
    content: str = ""
    state: WebhookState = WebhookState.DUE
    says: str = ""
    attempts: tuple[Attempt, ...] = ()
    attempt_count: int = 0
    failures: int = 0
    refusals: int = 0
    began_at: float | None = None
    next_at: float = 0.0
    settled_at: float | None = None


class Cursor(msgspec.Struct, frozen=True):
    """Up to which record of which epoch messages were made. `era` counts epochs, so that keys stay in order."""

    format: int
    era: int
    epoch: str
    sequence: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Webhook)
_cursor_decoder = msgspec.json.Decoder(Cursor)


def order_key(era: int, sequence: int, detail: str = "") -> str:
    """Keys in order of what happened. `detail` tells messages of one sequence apart."""
    return f"{era:04x}-{sequence:012x}{'-' if detail else ''}{detail}"


def is_order_key(text: str) -> bool:
    """Whether a caller's text can be one: anything else never becomes a part of a key."""
    return 0 < len(text) <= 80 and all(letter in "0123456789abcdef-" for letter in text)


class WebhookQueue:
    """All messages of all hooks. Every method may raise StoreUnavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.moved = asyncio.Event()
        """Set when something is due that was not."""
        self.is_changed = False
        """Whether something was made due here that whoever sends does not know of yet."""

    # where the journal was read up to

    async def begin(self, epoch: str, sequence: int, *, is_first: bool) -> None:
        """There will be receivers: what happens after `sequence` is theirs to know. `is_first`: there are none yet, so
        what happened before is nobody's."""
        cursor = await self.cursor()
        if cursor is None:
            await self._store.put(CURSOR, _encoder.encode(Cursor(FORMAT, 1, epoch, sequence)), if_absent=True)
        elif is_first:
            await self.keep_cursor(Cursor(FORMAT, cursor.era + (cursor.epoch != epoch), epoch, sequence))

    async def cursor(self) -> Cursor | None:
        """None: there never was a receiver."""
        try:
            return _cursor_decoder.decode(await self._store.get(CURSOR))
        except ObjectMissing:
            return None
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{CURSOR} in the store is damaged: messages wait until it is put right") from error

    async def keep_cursor(self, cursor: Cursor) -> None:
        """Messages up to here are written."""
        await self._store.put(CURSOR, _encoder.encode(cursor))

    # what is due

    async def add(self, webhook: Webhook) -> Added:
        """Write a message, unless it is there or was sent already."""
        if await self._store.head(_key(SENT, webhook)) is not None:
            return Added.SETTLED
        key = _key(SENT if webhook.state is WebhookState.DEAD else DUE, webhook)
        outcome = await self._store.put(key, _encoder.encode(webhook), if_absent=True)
        return Added.NOW if outcome is PutOutcome.STORED else Added.BEFORE

    async def due(self) -> AsyncIterator[tuple[str, str]]:
        """Hook and key of every message that is due."""
        async for facts in self._store.scan(DUE):
            hook_id, slash, key = facts.key.removeprefix(DUE).partition("/")
            if slash:
                yield hook_id, key

    async def read(self, hook_id: str, key: str) -> Webhook | None:
        """A message that is due; None: it is not, or is a newer program's."""
        return await self._read(f"{DUE}{hook_id}/{key}")

    async def find(self, hook_id: str, key: str) -> Webhook | None:
        """A message, whatever became of it."""
        return await self.read(hook_id, key) or await self._read(f"{SENT}{hook_id}/{key}")

    async def put_off(self, webhook: Webhook) -> None:
        """It is still due."""
        await self._store.put(_key(DUE, webhook), _encoder.encode(webhook))

    async def settle(self, webhook: Webhook) -> None:
        """It is due no more."""
        await self._store.put(_key(SENT, webhook), _encoder.encode(webhook))
        await self._store.delete(_key(DUE, webhook))

    async def again(self, hook_id: str, key: str) -> Webhook | None:
        """Make a message due that was sent or given up; None where there is none."""
        found = await self._read(f"{SENT}{hook_id}/{key}")
        if found is None:
            return await self.read(hook_id, key)
        webhook = msgspec.structs.replace(
            found, state=WebhookState.DUE, failures=0, refusals=0, began_at=None, next_at=0.0, settled_at=None, says=""
        )
        await self._store.put(_key(DUE, webhook), _encoder.encode(webhook))
        await self._store.delete(_key(SENT, webhook))
        self.is_changed = True
        self.moved.set()
        return webhook

    # what a receiver was told of that is no record

    async def is_told(self, hook_id: str, name: str) -> bool:
        """Whether this is noted."""
        return await self._store.head(f"{TOLD}{hook_id}/{name}") is not None

    async def note_told(self, hook_id: str, name: str) -> None:
        """Note it: its message is written."""
        await self._store.put(f"{TOLD}{hook_id}/{name}", b"")

    # what was

    async def newest(self, hook_id: str, most: int) -> tuple[Webhook, ...]:
        """The last ones that happened, newest first, whatever became of them."""
        keys = [facts.key async for facts in self._store.scan(f"{DUE}{hook_id}/")]
        keys += [facts.key async for facts in self._store.scan(f"{SENT}{hook_id}/")]
        keys.sort(key=lambda key: key.rpartition("/")[2], reverse=True)
        found: dict[str, Webhook] = {}
        for webhook in await self._all(keys[: 2 * most]):
            if webhook is not None:
                found.setdefault(webhook.key, webhook)
        return tuple(found.values())[:most]

    async def sweep(self, hook_id: str, *, most: int) -> int:
        """Forget the oldest that were sent or given up, beyond `most`; how many went."""
        keys = sorted([facts.key async for facts in self._store.scan(f"{SENT}{hook_id}/")])
        gone = keys[: max(0, len(keys) - most)]
        for key in gone:
            await self._store.delete(key)
        return len(gone)

    async def forget_hook(self, hook_id: str) -> None:
        """Nothing of the hook stays."""
        for prefix in (DUE, SENT, TOLD):
            for key in [facts.key async for facts in self._store.scan(f"{prefix}{hook_id}/")]:
                await self._store.delete(key)

    async def hooks(self) -> frozenset[str]:
        """The ids of all hooks of which there is something."""
        found: set[str] = set()
        for prefix in (DUE, SENT, TOLD):
            found |= {facts.key.removeprefix(prefix).partition("/")[0] async for facts in self._store.scan(prefix)}
        return frozenset(found)

    async def _read(self, key: str) -> Webhook | None:
        try:
            webhook = _decoder.decode(await self._store.get(key))
        except (ObjectMissing, msgspec.MsgspecError):
            return None
        return webhook if webhook.format == FORMAT else None

    async def _all(self, keys: Sequence[str]) -> list[Webhook | None]:
        turn = asyncio.Semaphore(CONCURRENT_READS)

        async def get(key: str) -> Webhook | None:
            async with turn:
                return await self._read(key)

        return await asyncio.gather(*map(get, keys))


def new_webhook(  # noqa: PLR0917 - what a message is about
    key: str, hook_id: str, site_id: str, event: str, name: str, at: float, epoch: str, sequence: int,
    data: Mapping[str, Any],
) -> Webhook:  # fmt: skip
    """A message that was not tried yet."""
    return Webhook(FORMAT, key, hook_id, site_id, event, name, at, epoch, sequence, dict(data))


def _key(prefix: str, webhook: Webhook) -> str:
    return f"{prefix}{webhook.hook_id}/{webhook.key}"
