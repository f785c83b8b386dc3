"""Messages of ours while the store fails and control dies at any moment: every one comes, in order, never another."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from cdn.control import webhook_sender
from cdn.control.webhook_transport import Sent
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Control


class FailingStore:
    """Fails now and then where messages are kept, before or after it has done what it was asked."""

    def __init__(self, store: DirectoryStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self.fails = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name == "scan" or not asyncio.iscoroutinefunction(method):
            return method

        async def failing(key: Any = "", *given: Any, **named: Any) -> Any:
            is_ours = isinstance(key, str) and key.startswith("control/hooks/")
            chance = self._rng.random() if is_ours else 1.0
            if chance < self.fails / 2:
                raise StoreUnavailable("the store does not answer")
            answer = await method(*((key, *given) if key != "" else given), **named)
            if chance < self.fails:
                raise StoreUnavailable("the answer of the store was lost")
            return answer

        return failing


async def play(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_sender, "FAULT_PAUSE_S", 0.001)
    rng = random.Random(seed)
    store = FailingStore(DirectoryStore(folder / "store"), rng)
    keys = KeyRing([SealingKey(os.urandom(32))], "test")
    control = Control(folder, store=store, control_keys=keys, more={"allows_private_webhooks": True})
    came: dict[str, list[str]] = {}
    fails = 0.3

    async def send(self: Any, hook: Any, fields: Any, content: bytes, now: float) -> Sent:
        await asyncio.sleep(0)
        if rng.random() < fails:
            return Sent(rng.choice((None, 503, 500)), "no")
        came.setdefault(hook.url, []).append(dict(fields)["webhook-id"])
        return Sent(200, "")

    monkeypatch.setattr("cdn.control.webhook_transport.WebhookTransport.send", send)
    await control.open()
    try:
        await control.following_node()
        await control.api.post("/v1/sites", {"name": "blog"})
        hooks = {}
        for number in range(2):
            url = f"https://example.com/{number}"
            made = await control.api.post("/v1/sites/blog/hooks", {"outbound": {"url": url}})
            hooks[url] = made.document["hook"]["id"]
        sequences: list[int] = []
        store.fails = 0.2
        for _ in range(6):
            for _ in range(rng.randrange(1, 4)):
                answer = await control.api.post("/v1/sites/blog/purges", {"everything": True})
                sequences.append(answer.document["position"]["sequence"])
            for _ in range(rng.randrange(30)):
                control.clock.now += rng.choice((0.0, 6.0, 70.0))
                control.plane.services.hook_room.queue.moved.set()
                await asyncio.sleep(0)
            if rng.random() < 0.5:
                await control.plane.webhooks.aclose()  # in the middle of whatever it does
                await control.reopen()
                await control.following_node()
        store.fails = fails = 0.0
        for url, hook_id in hooks.items():
            await _all_delivered(control, hook_id, len(sequences))
            listed = await control.plane.services.hook_room.queue.newest(hook_id, 1000)
            names = {each.name: each.sequence for each in listed}
            first = list(dict.fromkeys(came[url]))
            assert [names[name] for name in first] == sequences, "every one, in order"
    finally:
        await control.close()
        await store.aclose()


async def _all_delivered(control: Control, hook_id: str, count: int) -> None:
    queue = control.plane.services.hook_room.queue
    async with asyncio.timeout(20):
        while sum(each.state.value == "delivered" for each in await queue.newest(hook_id, 1000)) < count:
            control.clock.now += 60
            queue.moved.set()
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("seed", range(4))
async def test_every_message_comes_in_order_whatever_fails(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(tmp_path, seed, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4, 100))
async def test_every_message_comes_in_order_in_many_runs(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(tmp_path, seed, monkeypatch)
