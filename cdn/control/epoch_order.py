"""In which order the epochs of one object store followed each other: whoever is not the last was replaced.

An epoch enters with a conditional write, so of two restores at one time one is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdn.control.archive_layout import (
    ENTRY_VERSION,
    EPOCHS,
    EpochEntry,
    decode_epoch,
    encode_entry,
    epoch_key,
    number_of,
)
from cdn.errors import Conflict
from cdn.fleet.position import Position
from cdn.origin.store import ObjectStore, PutOutcome


@dataclass(frozen=True, slots=True)
class LastEpoch:
    """The last one, and its number in the order."""

    number: int
    entry: EpochEntry


async def last_epoch(store: ObjectStore) -> LastEpoch | None:
    """The epoch that counts; None when no epoch ever entered. Raises StoreUnavailable, UnreadableEntry."""
    keys = [facts.key async for facts in store.scan(EPOCHS)]
    if not keys:
        return None
    key = max(keys, key=number_of)
    return LastEpoch(number_of(key), decode_epoch(await store.get(key)))


async def is_followed(store: ObjectStore, number: int) -> bool:
    """Whether another epoch came after this one. Raises StoreUnavailable."""
    return await store.head(epoch_key(number + 1)) is not None


async def enter_epoch(
    store: ObjectStore, epoch: str, *, after: LastEpoch | None, begun_at: float, instead_of: Position | None = None
) -> int:
    """Make `epoch` the last one, behind the one that was; its number. Raises Conflict, StoreUnavailable."""
    number = 1 if after is None else after.number + 1
    entry = encode_entry(EpochEntry(ENTRY_VERSION, epoch, begun_at, instead_of))
    if await store.put(epoch_key(number), entry, if_absent=True) is PutOutcome.STORED:
        return number
    there = decode_epoch(await store.get(epoch_key(number)))
    if there.epoch != epoch:  # else it is our own write, of which the first answer was lost
        raise Conflict(f"the epoch {there.epoch} began in this object store meanwhile: try again from there")
    return number
