"""Messages that came to hooks, in the object store: what became of each, so that the same one is worked on once.

A message is claimed by what names it, with writes that only one of several replicas can do; the claim leads to its
delivery, a document that says how far it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from cdn.errors import Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome

PREFIX = "control/hooks/in/"

FORMAT = 1
"""Of documents; one of a newer form is read as none."""

MAX_SAYS_CHARS = 1000
"""What became of a message, in a sentence."""

CONCURRENT_READS = 16

MAX_CLAIMS = 5
"""Looks at who has a name, while it changes."""

UID_DIGITS = 24
"""Of a delivery's id: 12 of its time in milliseconds, so that they sort, and 12 that nobody knows."""


class DeliveryState(Enum):
    """How far a message is."""

    WORKING = "working"
    DONE = "done"
    IGNORED = "ignored"  # the hook does not let it in, or it names nothing of the site's
    FAILED = "failed"  # it is worked on again when it comes again


class InboundDelivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. Times are wall time in seconds. `named` is what its sender calls it; `epoch` and `sequence` are the
    record that came of it. While it is worked on: nobody else does until `worked_until`, and what came of it is found
    after the record `began`."""

    format: int
    id: str
    hook_id: str
    received_at: float
    state: DeliveryState
    event: str = ""
    named: str = ""
    says: str = ""
    epoch: str = ""
    sequence: int = 0
    began: int = 0
    worked_until: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class HeldDelivery:
    """A document as it was read."""

    delivery: InboundDelivery
    entity_tag: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(InboundDelivery)


def new_delivery_id(now: float) -> str:
    """An id that is in order of time."""
    return f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}{secrets.token_hex(6)}"


def is_delivery_id(text: str) -> bool:
    """Whether a caller's text can be one: anything else never becomes a part of a key."""
    return len(text) == UID_DIGITS and all(letter in "0123456789abcdef" for letter in text)


def time_of(delivery_id: str) -> float:
    """When a delivery came, by its id, as wall time."""
    return int(delivery_id[:12], 16) / 1000


class InboundDeliveries:
    """All of them. Every method may raise StoreUnavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def claim(self, delivery: InboundDelivery, names: Sequence[str]) -> HeldDelivery:
        """The delivery that is worked on under `names`: this one, or another one that was first with any of them.

        Without names nothing is claimed.
        """
        key = _key(delivery.hook_id, delivery.id)
        await self._store.put(key, _encoder.encode(delivery), if_absent=True)
        ours: list[str] = []
        for name in names:
            first = await self._first(delivery.hook_id, name, delivery.id)
            if first is not None:
                for claimed in ours:  # whoever comes under those names is led to the first one too
                    await self._store.put(_claim_key(delivery.hook_id, claimed), first.delivery.id.encode("ascii"))
                await self._store.delete(key)
                return first
            ours.append(name)
        return await self._present(delivery.hook_id, delivery.id)

    async def read(self, hook_id: str, delivery_id: str) -> HeldDelivery | None:
        """One delivery, None where there is none."""
        key = _key(hook_id, delivery_id)
        for _ in range(3):  # what changes between the questions is asked for again
            facts = await self._store.head(key)
            if facts is None:
                return None
            try:
                raw = await self._store.get(key)
            except ObjectMissing:
                continue
            after = await self._store.head(key)
            if after is not None and after.entity_tag == facts.entity_tag:
                delivery = _decoded(raw)
                return None if delivery is None else HeldDelivery(delivery, facts.entity_tag)
        raise Unavailable(f"the delivery {delivery_id} changes too fast to be read: try again")

    async def write(self, held: HeldDelivery, delivery: InboundDelivery) -> bool:
        """Put `delivery` in the place of what was read; False when another wrote meanwhile."""
        key = _key(delivery.hook_id, delivery.id)
        outcome = await self._store.put(key, _encoder.encode(delivery), if_match=held.entity_tag)
        return outcome is PutOutcome.STORED

    async def keep(self, delivery: InboundDelivery) -> None:
        """Put it there, whatever there was."""
        await self._store.put(_key(delivery.hook_id, delivery.id), _encoder.encode(delivery))

    async def newest(self, hook_id: str, most: int) -> tuple[InboundDelivery, ...]:
        """The last ones that came, newest first."""
        prefix = _prefix(hook_id)
        keys = [facts.key async for facts in self._store.scan(f"{prefix}d/")]
        return tuple(one for one in await self._all(sorted(keys, reverse=True)[:most]) if one is not None)

    async def sweep(self, hook_id: str, *, before: float, most: int) -> int:
        """Forget what came before the wall time `before`, and the oldest beyond `most`; how many went."""
        prefix = _prefix(hook_id)
        ids = sorted([facts.key.rpartition("/")[2] async for facts in self._store.scan(f"{prefix}d/")])
        beyond = max(0, len(ids) - most)
        gone = {one for number, one in enumerate(ids) if number < beyond or time_of(one) < before}
        for delivery_id in gone:
            await self._store.delete(_key(hook_id, delivery_id))
        if gone:
            await self._forget_claims(f"{prefix}c/", gone)
        return len(gone)

    async def forget_hook(self, hook_id: str) -> None:
        """Nothing of the hook stays."""
        for key in [facts.key async for facts in self._store.scan(_prefix(hook_id))]:
            await self._store.delete(key)

    async def hooks(self) -> frozenset[str]:
        """The ids of all hooks of which there is something."""
        return frozenset([facts.key.removeprefix(PREFIX).partition("/")[0] async for facts in self._store.scan(PREFIX)])

    async def _forget_claims(self, prefix: str, gone: set[str]) -> None:
        for key in [facts.key async for facts in self._store.scan(prefix)]:
            try:
                delivery_id = (await self._store.get(key)).decode("ascii", "replace")
            except ObjectMissing:
                continue
            if delivery_id in gone:
                await self._store.delete(key)

    async def _first(self, hook_id: str, name: str, delivery_id: str) -> HeldDelivery | None:
        """Another delivery that has the name; None: this one has it now."""
        key, ours = _claim_key(hook_id, name), delivery_id.encode("ascii")
        for attempt in range(MAX_CLAIMS):
            if await self._store.put(key, ours, if_absent=True) is PutOutcome.STORED:
                return None
            facts = await self._store.head(key)
            try:
                first = (await self._store.get(key)).decode("ascii", "replace")
            except ObjectMissing:
                continue
            if first == delivery_id:
                return None
            found = await self.read(hook_id, first) if is_delivery_id(first) else None
            if found is not None:
                return found
            # It gave way to another a moment ago, and the claim will say so; or it was forgotten and the claim was not.
            if attempt and facts is not None:
                await self._store.put(key, ours, if_match=facts.entity_tag)
        raise Unavailable("whether this message came before cannot be said now: send it again")

    async def _present(self, hook_id: str, delivery_id: str) -> HeldDelivery:
        found = await self.read(hook_id, delivery_id)
        if found is None:
            raise Unavailable("what is kept of this message went again: send it again")
        return found

    async def _all(self, keys: Sequence[str]) -> list[InboundDelivery | None]:
        turn = asyncio.Semaphore(CONCURRENT_READS)

        async def get(key: str) -> InboundDelivery | None:
            async with turn:
                try:
                    return _decoded(await self._store.get(key))
                except ObjectMissing:
                    return None

        return await asyncio.gather(*map(get, keys))


def _prefix(hook_id: str) -> str:
    return f"{PREFIX}{hook_id}/"


def _claim_key(hook_id: str, name: str) -> str:
    return f"{_prefix(hook_id)}c/{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _key(hook_id: str, delivery_id: str) -> str:
    return f"{_prefix(hook_id)}d/{delivery_id}"


def _decoded(raw: bytes) -> InboundDelivery | None:
    try:
        delivery = _decoder.decode(raw)
    except msgspec.MsgspecError:
        return None
    return delivery if delivery.format == FORMAT else None
