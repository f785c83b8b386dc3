"""The same message at several replicas at once: one delivery, whoever comes first and under whichever names."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from cdn.control.hook_deliveries import FORMAT, DeliveryState, InboundDeliveries, InboundDelivery, new_delivery_id
from cdn.origin.directory import DirectoryStore


def delivery(hook_id: str = "h") -> InboundDelivery:
    return InboundDelivery(FORMAT, new_delivery_id(1_800_000_000.0), hook_id, 1_800_000_000.0, DeliveryState.WORKING)


class Shaken:
    """A store whose answers come in an order of chance."""

    def __init__(self, store: DirectoryStore, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name == "scan":
            return method

        async def shaken(*given: Any, **named: Any) -> Any:
            for _ in range(self._random.randrange(4)):
                await asyncio.sleep(0)
            return await method(*given, **named)

        return shaken


@pytest.mark.parametrize("seed", range(12))
async def test_those_who_race_for_a_message_agree(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    store = DirectoryStore(tmp_path / "store")
    try:
        replicas = [InboundDeliveries(Shaken(store, seed * 10 + number)) for number in range(3)]
        # Each knows the message by its content, and by a name of its own or one that is shared.
        names = [["content x", rng.choice(("named a", "named b", f"named {number}"))] for number in range(6)]
        held = await asyncio.gather(
            *(replicas[number % 3].claim(delivery(), each) for number, each in enumerate(names))
        )
        again = await asyncio.gather(*(replicas[0].claim(delivery(), each) for each in names))
        ids = {one.delivery.id for one in (*held, *again)}
        assert len(ids) == 1, "one message, one delivery"
        kept = [facts.key async for facts in store.scan("control/hooks/in/h/d/")]
        assert [key.rpartition("/")[2] for key in kept] == list(ids), "nothing of the others stays"
    finally:
        await store.aclose()


async def test_messages_without_a_name_are_each_their_own(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    try:
        deliveries = InboundDeliveries(store)
        held = [await deliveries.claim(delivery(), ()) for _ in range(3)]
        assert len({one.delivery.id for one in held}) == 3
    finally:
        await store.aclose()


async def test_a_claim_that_leads_nowhere_is_taken_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    try:
        deliveries = InboundDeliveries(store)
        first = await deliveries.claim(delivery(), ("named a",))
        await store.delete(f"control/hooks/in/h/d/{first.delivery.id}")
        second = await deliveries.claim(delivery(), ("named a",))
        assert second.delivery.id != first.delivery.id
        third = await deliveries.claim(delivery(), ("named a",))
        assert third.delivery.id == second.delivery.id
    finally:
        await store.aclose()


async def test_a_document_that_changed_is_not_written_over(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    try:
        deliveries = InboundDeliveries(store)
        held = await deliveries.claim(delivery(), ("named a",))
        other = await deliveries.read("h", held.delivery.id)
        assert other is not None
        assert await deliveries.write(other, delivery_of(other.delivery, "first"))
        assert not await deliveries.write(held, delivery_of(held.delivery, "second"))
    finally:
        await store.aclose()


def delivery_of(one: InboundDelivery, says: str) -> InboundDelivery:
    return InboundDelivery(one.format, one.id, one.hook_id, one.received_at, DeliveryState.DONE, says=says)
