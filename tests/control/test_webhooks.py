"""Messages of ours: in order, signed, tried again, kept over the death of either side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cdn.control import webhook_sender
from cdn.control.webhook_queue import Webhook
from cdn.journal.record import CertificateSet, DomainAdded
from cdn.purge.webhook import MAX_CONTENT_BYTES
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Control, ControlMaker
from tests.control.webhook_receiver import Receiver

PURGE = {"everything": True}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def make(make_control: ControlMaker, tmp_path: Path) -> Any:
    async def make(**more: Any) -> Control:
        control = await make_control(**{"allows_private_webhooks": True, **more})
        await control.close()
        control.control_keys = KeyRing([SealingKey(os.urandom(32))], "test")
        await control.open()
        await control.following_node()
        assert (await control.api.post("/v1/sites", {"name": "blog"})).status == 201
        return control

    return make


@pytest.fixture
async def control(make: Any) -> Control:
    made: Control = await make()
    return made


async def hook_to(control: Control, url: str, *events: str) -> tuple[str, str]:
    """Its id and secret."""
    made = await control.api.post("/v1/sites/blog/hooks", {"outbound": {"url": url, "events": list(events)}})
    assert made.status == 201, made.document
    return made.document["hook"]["id"], made.document["secret"]


async def deliveries(control: Control, hook_id: str) -> list[dict[str, Any]]:
    listed = await control.api.get(f"/v1/sites/blog/hooks/{hook_id}/deliveries")
    assert listed.status == 200, listed
    found: list[dict[str, Any]] = listed.document["deliveries"]
    return found


async def until(control: Control, hook_id: str, *, pause_s: float = 0, **wanted: Any) -> dict[str, Any]:
    """The newest delivery, once it is as wanted; the clock moves by `pause_s` between two looks."""
    async with asyncio.timeout(20):
        while True:
            found = await deliveries(control, hook_id)
            if found and all(found[0][name] == value for name, value in wanted.items()):
                return found[0]
            control.clock.now += pause_s
            control.plane.services.hook_room.queue.moved.set()
            await control.plane.webhooks.settled()
            await asyncio.sleep(0.01)


async def purge(control: Control) -> int:
    answer = await control.api.post("/v1/sites/blog/purges", PURGE)
    return int(answer.document["position"]["sequence"])


async def test_receivers_are_told_of_purges_once_every_node_has_them(control: Control, receiver: Receiver) -> None:
    hook_id, secret = await hook_to(control, receiver.url)
    sequence = await purge(control)
    (taken,) = await receiver.wait(1)
    assert taken.is_signed_with(secret)
    assert taken.document["type"] == "purge.done"
    data = taken.document["data"]
    assert (data["site"], data["sequence"], data["receipt"]["complete"]) == ("blog", sequence, True)
    assert data["scopes"] == [{"kind": "everything", "value": ""}]
    assert abs(int(taken.fields["webhook-timestamp"]) - control.clock()) < 1
    kept = await until(control, hook_id, state="delivered")
    assert (kept["named"], kept["sequence"]) == (taken.fields["webhook-id"], sequence)


async def test_no_message_is_longer_than_receivers_take(control: Control, receiver: Receiver) -> None:
    await hook_to(control, receiver.url)
    urls = [f"/{number:03}{'x' * 8000}" for number in range(100)]
    answer = await control.api.post("/v1/sites/blog/purges", {"urls": urls})
    assert answer.status in (200, 202), answer
    (taken,) = await receiver.wait(1)
    assert len(taken.content) <= MAX_CONTENT_BYTES
    data = taken.document["data"]
    assert (data["scopes"], data["scope_count"]) == ([{"kind": "url", "value": urls[0]}], 100)


async def test_a_purge_that_a_node_lacks_is_not_told_of_until_it_has_it(
    make: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sender, "RECEIPT_WAIT_S", 0.01)
    control = await make()
    late = await control.node("edge-2")
    hook_id, _ = await hook_to(control, receiver.url)
    looks, looked = control.plane.webhooks._finished, asyncio.Semaphore(0)

    async def counted(webhook: Webhook) -> Webhook | None:
        looked.release()
        found: Webhook | None = await looks(webhook)
        return found

    control.plane.webhooks._finished = counted
    await purge(control)
    for _ in range(5):
        await looked.acquire()
    waiting = await until(control, hook_id, state="due")
    assert not receiver.taken
    assert not waiting["attempts"]
    late.directory.applied("edge-2", control.plane.state.position)
    await receiver.wait(1)


async def test_messages_come_in_order_and_survive_a_receiver_that_is_down(control: Control, receiver: Receiver) -> None:
    hook_id, _ = await hook_to(control, receiver.url)
    await receiver.stop()
    sequences = [await purge(control) for _ in range(5)]
    await until(control, hook_id, sequence=sequences[-1])
    async with asyncio.timeout(10):
        while not (await deliveries(control, hook_id))[-1]["attempts"]:
            await asyncio.sleep(0.02)
    listed = await deliveries(control, hook_id)
    assert [each["sequence"] for each in listed] == sequences[::-1]
    assert [len(each["attempts"]) for each in listed] == [0, 0, 0, 0, 1], "nobody overtakes the first"
    await receiver.start()
    control.clock.now += 60
    control.plane.services.hook_room.queue.moved.set()
    taken = await receiver.wait(5)
    assert [each.document["data"]["sequence"] for each in taken] == sequences


async def test_messages_survive_the_death_of_control(control: Control, receiver: Receiver) -> None:
    _, secret = await hook_to(control, receiver.url)
    await receiver.stop()
    sequences = [await purge(control) for _ in range(3)]
    await control.plane.webhooks.aclose()  # killed: what comes now is in the journal alone
    sequences.append(await purge(control))
    await control.reopen()
    await control.following_node()
    await receiver.start()
    control.clock.now += 60
    control.plane.services.hook_room.queue.moved.set()
    taken = await receiver.wait(4)
    assert [each.document["data"]["sequence"] for each in taken] == sequences
    assert all(each.is_signed_with(secret) for each in taken)
    assert len({each.fields["webhook-id"] for each in taken}) == 4


async def test_what_is_refused_again_and_again_is_given_up_and_the_next_one_comes(
    control: Control, receiver: Receiver
) -> None:
    hook_id, _ = await hook_to(control, receiver.url)
    await receiver.stop()
    first = await purge(control)
    receiver.answers = lambda taken: web.Response(
        status=422 if taken.document["data"]["sequence"] == first else 200, text="no such thing"
    )
    await receiver.start()
    second = await purge(control)
    await until(control, hook_id, pause_s=1800, state="delivered")
    newest, oldest = await deliveries(control, hook_id)
    assert (oldest["state"], oldest["sequence"], newest["sequence"]) == ("dead", first, second)
    assert "no such thing" in oldest["says"]
    assert [each["status"] for each in oldest["attempts"]].count(422) == 5

    receiver.answers = lambda taken: web.Response(status=200)
    count = len(receiver.taken)
    replayed = await control.api.post(f"/v1/sites/blog/hooks/{hook_id}/deliveries/{oldest['id']}/replay")
    assert replayed.status == 202
    again = (await receiver.wait(count + 1))[-1]
    assert again.fields["webhook-id"] == oldest["named"]


async def test_what_fails_for_a_day_is_dead(control: Control, receiver: Receiver) -> None:
    receiver.answers = lambda taken: web.Response(status=503)
    hook_id, _ = await hook_to(control, receiver.url)
    await purge(control)
    began = control.clock.now
    await until(control, hook_id, pause_s=1800, state="dead")
    assert control.clock.now - began > 80_000
    assert len(receiver.taken) > 10


async def test_private_addresses_are_not_connected_to(make: Any, receiver: Receiver) -> None:
    control = await make(allows_private_webhooks=False)
    hook_id, _ = await hook_to(control, receiver.url)
    await purge(control)
    kept = await until(control, hook_id, attempt_count=1)
    assert "private network" in kept["attempts"][0]["says"]
    assert not receiver.taken


async def test_redirects_are_not_followed(control: Control, receiver: Receiver) -> None:
    receiver.answers = lambda taken: web.Response(status=307, headers={"Location": "/hooks"})
    hook_id, _ = await hook_to(control, receiver.url)
    await purge(control)
    kept = await until(control, hook_id, attempt_count=1)
    assert (kept["attempts"][0]["status"], kept["state"]) == (307, "due")
    assert len(receiver.taken) == 1


async def test_an_endless_answer_is_not_read(control: Control, receiver: Receiver) -> None:
    receiver.answers = lambda taken: web.Response(status=200, body=b"x" * 5_000_000)
    hook_id, _ = await hook_to(control, receiver.url)
    await purge(control)
    await until(control, hook_id, state="delivered")


async def test_events_choose_what_a_receiver_is_told(control: Control, receiver: Receiver) -> None:
    await hook_to(control, receiver.url, "deploy.live")
    told_id, _ = await hook_to(control, receiver.url, "purge.done")
    await purge(control)
    await until(control, told_id, state="delivered")
    assert len(receiver.taken) == 1


async def test_a_certificate_that_ends_too_soon_is_told_of_once_a_month(control: Control, receiver: Receiver) -> None:
    hook_id, _ = await hook_to(control, receiver.url, "certificate.trouble")
    site = control.plane.services.catalog.site_named("blog")
    now, day = control.clock.now, 86_400.0
    for name, ends in (("www.example.com", 10 * day), ("fine.example.com", 60 * day)):
        change = CertificateSet(name, f"{ends:064.0f}", site.id, (name,), now - 80 * day, now + ends, "upload", "", {})
        await control.plane.state.append_always(f"domain/{name}", DomainAdded(name, site.id), "test")
        await control.plane.state.append_always(f"certificate/{name}", change, "test")
    events, looked = control.plane.webhooks._events, asyncio.Semaphore(0)
    looks = events.look_at_certificates

    async def counted(*given: Any) -> None:
        await looks(*given)
        looked.release()

    events.look_at_certificates = counted
    for _ in range(3):
        control.clock.now += 301
        control.plane.services.hook_room.queue.moved.set()
        await looked.acquire()
    await until(control, hook_id, state="delivered")
    (taken,) = tuple(receiver.taken)
    assert taken.document["type"] == "certificate.trouble"
    assert taken.document["data"] == {
        "site": "blog",
        "name": "www.example.com",
        "state": "ending",
        "not_after": now + 10 * day,
        "issuer": "upload",
    }
    for count in (2, 3):
        control.clock.now += 31 * day
        control.plane.services.hook_room.queue.moved.set()
        told = await receiver.wait(count)
        assert told[-1].document["data"]["state"] == "over"
    assert len({each.fields["webhook-id"] for each in told}) == 3


async def test_a_receiver_hears_of_its_own_site_alone(control: Control, receiver: Receiver) -> None:
    await control.api.post("/v1/sites", {"name": "shop"})
    await control.api.post("/v1/sites/shop/hooks", {"outbound": {"url": receiver.url}})
    hook_id, _ = await hook_to(control, receiver.url)
    await purge(control)
    await until(control, hook_id, state="delivered")
    await control.api.post("/v1/sites/shop/purges", PURGE)
    taken = await receiver.wait(2)
    assert [each.document["data"]["site"] for each in taken] == ["blog", "shop"]


async def test_a_hook_that_is_removed_is_told_nothing_more(control: Control, receiver: Receiver) -> None:
    hook_id, _ = await hook_to(control, receiver.url)
    await receiver.stop()
    await purge(control)
    await until(control, hook_id, attempt_count=1)
    assert (await control.api.delete(f"/v1/sites/blog/hooks/{hook_id}")).status == 200
    await receiver.start()
    control.clock.now += 60
    queue = control.plane.services.hook_room.queue
    async with asyncio.timeout(10):
        while [each async for each in queue.due()]:
            queue.moved.set()
            await asyncio.sleep(0.01)
    assert not receiver.taken


async def test_while_a_secret_is_rotated_both_sign(control: Control, receiver: Receiver) -> None:
    hook_id, first = await hook_to(control, receiver.url)
    rotated = await control.api.post(f"/v1/sites/blog/hooks/{hook_id}/rotate", {"keep_s": 100})
    second = rotated.document["secret"]
    await purge(control)
    (taken,) = await receiver.wait(1)
    assert taken.is_signed_with(first)
    assert taken.is_signed_with(second)


async def test_nothing_is_asked_of_the_store_where_nobody_wants_to_know(control: Control) -> None:
    queue = control.plane.services.hook_room.queue
    await purge(control)
    await control.plane.webhooks.round()
    assert await queue.cursor() is None
    assert not [facts async for facts in control.store.scan("control/hooks/")]
