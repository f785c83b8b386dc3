"""Questions from one process to another over a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.journal import jetstream_line
from cdn.journal.jetstream_line import NatsLine
from cdn.journal.journal import JournalUnavailable
from cdn.journal.nats_link import NatsLink
from cdn.journal.nats_settings import NatsSettings
from tests.servers.nats import NatsLayout, start_again, start_single, stop_layout, stop_node


@pytest.fixture
def own_nats(tmp_path: Path) -> NatsLayout:
    return start_single(tmp_path / "nats")


@pytest.fixture
async def lines(own_nats: NatsLayout) -> AsyncIterator[tuple[NatsLine, NatsLine]]:
    links = [await NatsLink.open(NatsSettings(own_nats.urls), name=name) for name in ("a", "b")]
    first, second = (NatsLine(link, "cdn", name) for link, name in zip(links, "ab", strict=True))
    yield first, second
    for line, link in zip((first, second), links, strict=True):
        await line.aclose()
        await link.aclose()
    stop_layout(own_nats)


async def asked(line: NatsLine, question: bytes) -> bytes:
    """The answer of `b`, once it listens."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await line.ask("b", question, timeout_s=2.0)
            except JournalUnavailable:
                await asyncio.sleep(0.02)


async def echo(question: bytes) -> bytes:
    return b"you said " + question


async def test_it_answers_and_does_so_again_after_the_server_went_away(
    lines: tuple[NatsLine, NatsLine], own_nats: NatsLayout
) -> None:
    first, second = lines
    with pytest.raises(JournalUnavailable, match="nobody there"):
        await first.ask("b", b"?", timeout_s=2.0)
    second.start(echo)
    assert await asked(first, b"hello") == b"you said hello"
    stop_node(own_nats.nodes[0].pid)
    again = start_again(own_nats.nodes[0])
    try:
        assert await asked(first, b"hello again") == b"you said hello again"
    finally:
        stop_node(again.pid)


async def test_questions_and_answers_are_bounded(
    lines: tuple[NatsLine, NatsLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_line, "MAX_ANSWERING", 2)
    monkeypatch.setattr(jetstream_line, "MAX_ANSWER_BYTES", 10)
    first, second = lines
    gate = asyncio.Event()
    answering = 0

    async def slow(question: bytes) -> bytes:
        nonlocal answering
        answering += 1
        await gate.wait()
        return question

    second.start(slow)
    waiting = [asyncio.create_task(asked(first, b"1")) for _ in range(2)]
    async with asyncio.timeout(30):
        while answering < 2:
            await asyncio.sleep(0.01)
    with pytest.raises(JournalUnavailable):
        await first.ask("b", b"one too many", timeout_s=0.3)
    assert answering == 2
    gate.set()
    assert await asyncio.gather(*waiting) == [b"1", b"1"]
    with pytest.raises(JournalUnavailable):
        await first.ask("b", b"longer than ten bytes", timeout_s=0.3)
