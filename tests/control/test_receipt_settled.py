"""A receipt waits for nodes that become known only while it waits, and is complete only when none can be missing."""

from __future__ import annotations

import asyncio

import pytest

from cdn.fleet.node import NodeFacts
from tests.control.control_room import Answer, Api, Control


@pytest.fixture
async def blog(api: Api) -> Api:
    await api.post("/v1/sites", {"name": "blog"})
    return api


async def purging(blog: Api) -> asyncio.Task[Answer]:
    return asyncio.create_task(blog.post("/v1/sites/blog/purges?wait=20", {"tags": ["news"]}))


async def test_a_node_that_is_heard_of_meanwhile_is_waited_for(
    control: Control, blog: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await control.following_node("known")
    directory, before = control.directory, control.plane.state.position
    heard = asyncio.Event()

    async def settle() -> bool:
        await directory.connected("late", NodeFacts("test"), before, lease_s=10.0, record_version=1)
        directory.heartbeat_answered("late", {})
        heard.set()
        return True

    monkeypatch.setattr(control.directory, "settle", settle)
    answer = await purging(blog)
    await heard.wait()
    done, _ = await asyncio.wait({answer}, timeout=0.3)
    assert not done, "the late node has not applied it"
    directory.applied("late", control.plane.state.position)
    receipt = (await answer).document
    assert receipt["complete"] is True
    assert {line["node"]: line["outcome"] for line in receipt["nodes"]} == {"known": "applied", "late": "applied"}


async def test_without_the_table_it_is_not_complete(
    control: Control, blog: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await control.following_node("known")

    async def settle() -> bool:
        return False

    monkeypatch.setattr(control.directory, "settle", settle)
    receipt = (await (await purging(blog))).document
    assert [line["outcome"] for line in receipt["nodes"]] == ["applied"]
    assert receipt["complete"] is False
