"""What a node applies reaches its workers before it is acknowledged, or they serve nothing from memory (DESIGN I8)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from math import inf

import pytest

from cdn.edge.limits import HttpLimits
from cdn.edge.site_view import SiteView
from cdn.edge.worker_frames import encode_message_frame
from cdn.edge.worker_line import WorkerLine
from cdn.edge.worker_link import WorkerLink
from cdn.edge.worker_messages import Beat, Reached, encode
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.worker_settings import FENCE_MARGIN_S, LEASE_S, WorkerSettings
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    RECORD_VERSION,
    Audience,
    Change,
    Purged,
    PurgeScope,
    Record,
    SiteCreated,
    SiteRemoved,
)
from cdn.purge.floors import Floors

SETTINGS = WorkerSettings(1, "cdn.test", "cdn", "/nowhere", 1 << 20, HttpLimits())


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Memory:
    """What a worker does with what it is told, written down."""

    until: float = -inf
    forgotten: list[tuple[str, str, int]] = field(default_factory=list)
    is_withdrawn: bool = False
    is_silent: bool = False
    renewed: asyncio.Event = field(default_factory=asyncio.Event)

    def forget(self, site_id: str, key: str, count: int) -> None:
        self.forgotten.append((site_id, key, count))

    def may_serve_until(self, until: float) -> None:
        self.until = until
        self.renewed.set()

    def node_is_silent(self, is_silent: bool) -> None:
        self.is_silent = is_silent

    def counted(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        return {"answered": 7}, {"no-host": 2}

    def withdraw(self) -> None:
        self.is_withdrawn = True


class Node:
    """A node's side: its view, its relay, and lines to workers at the other ends of socket pairs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.view = SiteView(CatalogFold("cdn.test"), Floors())
        self.relay = WorkerRelay(self.view, self.clock)
        self.used: list[int] = []
        self.running: set[asyncio.Task[None]] = set()
        self.writers: list[asyncio.StreamWriter] = []

    async def line(self) -> tuple[WorkerLine, asyncio.StreamReader, asyncio.StreamWriter]:
        """A line, and the worker's end of its socket."""
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        line = WorkerLine(
            1,
            reader,
            writer,
            clock=self.clock,
            on_change=self.relay.note_change,
            on_used=self.used.append,
        )
        self.running.add(asyncio.create_task(line.run()))
        self.relay.attach(line, SETTINGS)
        far_reader, far_writer = await asyncio.open_connection(sock=there)
        self.writers += [writer, far_writer]
        return line, far_reader, far_writer

    def apply(self, *records: Record) -> None:
        for record in records:
            self.view.catalog_fold.apply(record)
        self.relay.on_records(records, records[-1].position)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    made.view.position = Position("e", 0)
    yield made
    for task in made.running:
        task.cancel()
    await asyncio.gather(*made.running, return_exceptions=True)
    for writer in made.writers:
        writer.close()
        with contextlib.suppress(OSError):  # the other end was closed first
            await writer.wait_closed()


def record(sequence: int, change: Change) -> Record:
    return Record(RECORD_VERSION, "e", sequence, "subject", 0.0, "test", Audience.ALL, change)


def created(sequence: int, site_id: str = "s1") -> Record:
    return record(sequence, SiteCreated(site_id, f"blog{site_id}", {}))


def purged(sequence: int, site_id: str = "s1") -> Record:
    return record(sequence, Purged(site_id, (PurgeScope("everything", ""),), soft=False))


async def until(condition: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await condition.wait()


async def worker(
    node: Node,
) -> tuple[WorkerLine, SiteView, Memory, asyncio.StreamWriter, asyncio.Task[float], WorkerLink]:
    """A worker that runs, and has the state."""
    line, reader, writer = await node.line()
    link = WorkerLink(reader, writer, clock=node.clock)
    view, memory = SiteView(CatalogFold("cdn.test"), Floors()), Memory()
    assert await link.setup() == SETTINGS
    following = asyncio.create_task(link.run(view, memory))
    await until(link.has_state)
    await until(memory.renewed)
    return line, view, memory, writer, following, link


@contextlib.asynccontextmanager
async def ended(task: asyncio.Task[float]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_gets_state_and_records(node: Node) -> None:
    node.apply(created(1))
    _, view, memory, _, following, _ = await worker(node)
    async with ended(following):
        assert view.catalog.site("s1") is not None
        before = view.runtime("s1").generation
        node.apply(created(2, "s2"), purged(3))
        async with asyncio.timeout(30):
            await node.relay.everywhere()
        assert view.position == Position("e", 3)
        assert view.catalog.site("s2") is not None
        assert view.runtime("s1").generation > before
        node.apply(record(4, SiteRemoved("s1")))
        node.relay.forget("s2", "https://x/", 9)
        generation = view.runtime("s2").generation
        node.relay.renew()
        async with asyncio.timeout(30):
            await node.relay.everywhere()
        assert view.catalog.site("s1") is None
        assert memory.forgotten == [("s2", "https://x/", 9)]
        assert view.runtime("s2").generation > generation


async def test_a_snapshot_replaces_what_a_worker_knew(node: Node) -> None:
    node.apply(created(1))
    _, view, _, _, following, _ = await worker(node)
    async with ended(following):
        generation = view.runtime("s1").generation
        node.view.catalog_fold.apply(created(2, "s2"))
        node.relay.on_snapshot(Position("f", 2), epoch_changed=True)
        async with asyncio.timeout(30):
            await node.relay.everywhere()
        assert view.position == Position("f", 2)
        assert view.catalog.site("s2") is not None
        assert view.runtime("s1").generation > generation


async def test_the_lease_runs_from_when_the_beat_was_sent(node: Node) -> None:
    _, _, memory, _, following, _ = await worker(node)
    async with ended(following):
        assert memory.until == node.clock.now + LEASE_S


async def test_without_its_node_a_worker_serves_nothing_from_memory(node: Node) -> None:
    line, _, memory, _, following, _ = await worker(node)
    line.send_frame(b"\x09\x00\x00\x00\x00")  # no frame of ours: whatever it may be, the worker stops believing
    with pytest.raises(Exception, match="a frame of kind 9"):
        await following
    assert memory.until == -inf


async def test_an_acknowledgement_waits_for_a_worker_that_may_serve(node: Node) -> None:
    """The worker beats, and does not say that it has the record: until its lease is over nothing is acknowledged."""
    line, reader, writer = await node.line()
    writer.write(encode_message_frame(encode(Reached(1))))
    writer.write(encode_message_frame(encode(Beat(1, {}, {}))))
    await frames(reader, 3)  # settings, state, and the answer to the beat
    node.apply(created(1))
    waiting = asyncio.create_task(node.relay.everywhere())
    await frames(reader, 1)
    assert not waiting.done()
    node.clock.now += LEASE_S
    node.relay.note_change()
    await frames_of_loop()
    assert not waiting.done(), "the lease is over, but not surely"
    node.clock.now += FENCE_MARGIN_S
    node.relay.note_change()
    async with asyncio.timeout(30):
        await waiting
    assert line.reached == 1


async def test_an_acknowledgement_waits_for_no_worker_that_never_beat(node: Node) -> None:
    await node.line()
    node.apply(created(1))
    async with asyncio.timeout(30):
        await node.relay.everywhere()


async def test_a_worker_that_dies_holds_nobody_up(node: Node) -> None:
    _, reader, writer = await node.line()
    writer.write(encode_message_frame(encode(Beat(1, {}, {}))))
    await frames(reader, 3)
    node.apply(created(1))
    waiting = asyncio.create_task(node.relay.everywhere())
    await frames_of_loop()
    assert not waiting.done()
    writer.close()
    async with asyncio.timeout(30):
        await waiting


async def test_a_worker_that_talks_nonsense_is_cut_off_and_waited_for(node: Node) -> None:
    """It may be alive, and serve until its lease is over."""
    line, reader, writer = await node.line()
    writer.write(encode_message_frame(encode(Beat(1, {}, {}))))
    await frames(reader, 3)
    writer.write(encode_message_frame(b"\xc1"))
    node.apply(created(1))
    waiting = asyncio.create_task(node.relay.everywhere())
    async with asyncio.timeout(30):
        assert await reader.read() is not None  # up to the end of the connection
    assert line.is_gone
    assert not waiting.done()
    node.clock.now += LEASE_S + FENCE_MARGIN_S
    node.relay.note_change()
    async with asyncio.timeout(30):
        await waiting


async def test_what_workers_counted_and_used_is_known(node: Node) -> None:
    line, _, _, _, following, link = await worker(node)
    async with ended(following):
        assert line.counted == {"answered": 7}
        assert line.refused == {"no-host": 2}
        link.used(5)
        async with asyncio.timeout(30):
            while not node.used:
                await asyncio.sleep(0.01)
        assert node.used == [5]


async def frames(reader: asyncio.StreamReader, count: int) -> None:
    """Read so many frames."""
    async with asyncio.timeout(30):
        for _ in range(count):
            head = await reader.readexactly(5)
            await reader.readexactly(int.from_bytes(head[1:], "big"))


async def frames_of_loop() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)
