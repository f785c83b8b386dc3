"""The road of a request to a pull site, from its key to the response."""

from __future__ import annotations

from tests.edge.pull_stage import FRESH, Stage, soon


async def test_a_miss_is_stored_and_the_next_is_a_hit(stage: Stage) -> None:
    client = stage.begin()
    (await stage.upstream.next()).answer(200, FRESH, content=b"one")
    answer = await soon(client)
    assert (answer.status, answer.content) == (200, b"one")
    assert answer.cache_status == "cdn; fwd=uri-miss; fwd-status=200; ttl=60; stored"
    await stage.idle()
    answer = await stage.get()
    assert (answer.status, answer.content, answer.is_hit) == (200, b"one", True)
    await stage.assert_clean()
