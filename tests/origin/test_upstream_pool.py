"""The pool of connections: its bounds, its queue, and that nothing is counted twice or lost."""

from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.origin.endpoint import Endpoint
from cdn.origin.http1.connection import UpstreamConnection
from cdn.origin.http1.exchange import Exchange
from cdn.origin.http1.framing import MAX_CHUNKS_PER_PART
from cdn.origin.pool import SURE_CONNECTIONS, Lease, Pool
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest
from cdn.origin.upstream_limits import UpstreamLimits

A, B, C = (Endpoint("http", f"{name}.example", 80) for name in "abc")


class FakeTransport(asyncio.Transport):
    """Closes when told, as a socket does: in the loop's next turn."""

    def __init__(self, connection: UpstreamConnection) -> None:
        super().__init__()
        self.connection = connection
        self.is_aborted = False
        self._reads = True
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def reads(self) -> bool:
        return self._reads

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


class Network:
    """Makes connections, counts those that are open, and may be slow or fail."""

    def __init__(self, limits: UpstreamLimits) -> None:
        self.limits = limits
        self.made: list[UpstreamConnection] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def connect(self, endpoint: Endpoint, timeout_s: float) -> UpstreamConnection:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        connection = UpstreamConnection(self.limits, str(endpoint))
        connection.connection_made(FakeTransport(connection))
        self.made.append(connection)
        return connection

    @property
    def open(self) -> int:
        return sum(not transport_of(connection).is_aborted for connection in self.made)


def transport_of(connection: UpstreamConnection) -> FakeTransport:
    return cast(FakeTransport, connection.transport)


def pool_of(**limits: float) -> tuple[Pool, Network]:
    made = UpstreamLimits(**limits)  # type: ignore[arg-type]
    network = Network(made)
    return Pool(network.connect, made), network


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_connection_that_was_used_last_is_used_again() -> None:
    pool, network = pool_of()
    first, second = await pool.acquire(A, 1), await pool.acquire(A, 1)
    assert (first.is_reused, second.is_reused) == (False, False)
    first.release(True)
    second.release(True)
    third = await pool.acquire(A, 1)
    assert third.is_reused
    assert third.connection is second.connection
    assert (pool.open_connections, pool.idle_connections, network.open) == (2, 1, 2)


async def test_endpoints_that_differ_share_nothing() -> None:
    pool, _ = pool_of()
    for endpoint in (
        A,
        Endpoint("https", A.host, A.port),
        Endpoint("http", A.host, 81),
        Endpoint(*("http", A.host, 80), True),
    ):
        lease = await pool.acquire(endpoint, 1)
        assert not lease.is_reused
        lease.release(True)


async def test_a_connection_that_is_idle_for_too_long_is_not_for_everyone() -> None:
    pool, network = pool_of(max_connections_per_upstream=1)
    (await pool.acquire(A, 1)).release(True)
    fresh = await pool.acquire(A, 1, max_idle_s=0)
    assert not fresh.is_reused
    assert network.open == 1  # the idle one made room
    fresh.release(True)
    assert (await pool.acquire(A, 1, max_idle_s=60)).is_reused


async def test_idle_connections_end_after_their_time() -> None:
    pool, network = pool_of(idle_timeout_s=0.01)
    (await pool.acquire(A, 1)).release(True)
    async with asyncio.timeout(5):
        while pool.open_connections:
            await asyncio.sleep(0.005)
    assert network.open == 0


@pytest.mark.parametrize("event", ["end", "bytes", "lost"])
async def test_whatever_happens_to_an_idle_connection_ends_it(event: str) -> None:
    pool, network = pool_of()
    lease = await pool.acquire(A, 1)
    lease.release(True)
    match event:
        case "end":
            lease.connection.eof_received()
        case "bytes":
            lease.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
        case _:
            lease.connection.connection_lost(ConnectionResetError())
    assert (pool.open_connections, pool.idle_connections) == (0, 0)
    await turn()
    assert network.open == 0
    assert not (await pool.acquire(A, 1)).is_reused


async def test_an_idle_connection_to_another_makes_room_when_all_places_are_taken() -> None:
    pool, network = pool_of(max_connections=2)
    (await pool.acquire(A, 1)).release(True)
    (await pool.acquire(B, 1)).release(True)
    await pool.acquire(C, 1)
    assert [transport_of(connection).is_aborted for connection in network.made] == [True, False, False]
    assert pool.open_connections == 2


async def test_one_who_waits_for_a_place_gets_that_of_a_connection_that_became_idle() -> None:
    pool, network = pool_of(max_connections=1)
    lease = await pool.acquire(A, 1)
    waiting = asyncio.create_task(pool.acquire(B, 1))
    await turn()
    lease.release(True)
    assert not (await waiting).is_reused
    assert (pool.open_connections, network.open) == (1, 1)


async def test_those_who_wait_are_served_in_order() -> None:
    pool, _ = pool_of(max_connections_per_upstream=1)
    lease = await pool.acquire(A, 1)
    order: list[int] = []

    async def one(number: int) -> None:
        got = await pool.acquire(A, 5)
        order.append(number)
        got.release(number % 2 == 0)

    waiting = [asyncio.create_task(one(number)) for number in range(6)]
    await turn()
    lease.release(True)
    await asyncio.gather(*waiting)
    assert order == list(range(6))


async def test_who_waits_for_one_endpoint_does_not_stop_another() -> None:
    pool, _ = pool_of(max_connections_per_upstream=1, max_connections=2)
    held = await pool.acquire(A, 1)
    waiting = asyncio.create_task(pool.acquire(A, 5))
    await turn()
    other = await pool.acquire(B, 1)
    other.release(False)
    await turn()
    assert not waiting.done()
    held.release(False)
    assert not (await waiting).is_reused


async def test_a_connection_that_cannot_be_made_frees_its_place() -> None:
    pool, network = pool_of(max_connections_per_upstream=1)
    network.failure = UpstreamBroken(UpstreamFault.CONNECT_REFUSED, "no")
    for _ in range(3):
        with pytest.raises(UpstreamBroken):
            await pool.acquire(A, 1)
    assert pool.open_connections == 0
    network.gate.clear()
    connecting = asyncio.create_task(pool.acquire(A, 1))
    waiting = asyncio.create_task(pool.acquire(A, 5))
    await turn()
    connecting.cancel()
    network.failure = None
    network.gate.set()
    assert not (await waiting).is_reused
    assert pool.open_connections == 1


@pytest.mark.parametrize("is_reusable", [True, False])
async def test_what_is_granted_to_one_who_leaves_goes_to_the_next(is_reusable: bool) -> None:
    pool, network = pool_of(max_connections_per_upstream=1)
    lease = await pool.acquire(A, 1)
    leaving = asyncio.create_task(pool.acquire(A, 5))
    staying = asyncio.create_task(pool.acquire(A, 5))
    await turn()
    lease.release(is_reusable)
    leaving.cancel()  # in the very turn in which it was granted
    assert (await staying).is_reused is is_reusable
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (pool.open_connections, network.open) == (1, 1)


async def test_the_end_of_the_pool_is_the_end_of_all() -> None:
    pool, network = pool_of(max_connections_per_upstream=2)
    (await pool.acquire(A, 1)).release(True)
    used = [await pool.acquire(A, 1), await pool.acquire(A, 1)]
    waiting = asyncio.create_task(pool.acquire(A, 5))
    network.gate.clear()
    connecting = asyncio.create_task(pool.acquire(B, 5))
    await turn()
    await pool.aclose()
    network.gate.set()
    for task in (waiting, connecting):
        with pytest.raises(UpstreamBroken) as broken:
            await task
        assert broken.value.fault is UpstreamFault.CLOSED
    for lease in used:
        lease.release(True)
    with pytest.raises(UpstreamBroken):
        await pool.acquire(A, 1)
    assert (pool.open_connections, pool.idle_connections, network.open) == (0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 6))
def test_in_any_order_of_things_the_bounds_hold_and_nothing_is_lost(seed: int, per: int, total: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        pool, network = pool_of(max_connections_per_upstream=per, max_connections=total, max_waiting=8)
        held: list[Lease] = []

        async def use(endpoint: Endpoint, max_idle_s: float | None) -> None:
            held.append(await pool.acquire(endpoint, 60, max_idle_s=max_idle_s))

        tasks: list[asyncio.Task[None]] = []
        for _ in range(60):
            match chance.randrange(6):
                case 0 | 1 | 2:
                    endpoint = chance.choice((A, B, C))
                    tasks.append(asyncio.create_task(use(endpoint, chance.choice((None, 0)))))
                case 3 if held:
                    held.pop(chance.randrange(len(held))).release(chance.random() < 0.6)
                case 4 if tasks:
                    chance.choice(tasks).cancel()
                case _ if network.made:
                    connection = chance.choice(network.made)
                    if not connection.is_lost:
                        transport_of(connection).abort()
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            assert pool.open_connections <= total
            assert network.open <= pool.open_connections
        while any(not task.done() for task in tasks):
            await turn()
            while held:
                held.pop().release(False)
        while held:
            held.pop().release(False)
        await asyncio.gather(*tasks, return_exceptions=True)
        await turn()
        assert pool.open_connections == pool.idle_connections == network.open
        await pool.aclose()
        assert (pool.open_connections, network.open) == (0, 0)

    asyncio.run(run())


async def test_a_reader_that_does_not_read_stops_the_socket() -> None:
    limits = UpstreamLimits(max_buffer_bytes=10_000)
    connection = UpstreamConnection(limits, "http://a.example:80")
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.engine.start("GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    connection.next_event()
    connection.data_received(bytes(9_999))
    assert transport.reads()
    connection.data_received(bytes(1))
    assert not transport.reads()
    part = connection.next_event()
    assert isinstance(part, bytes)
    assert len(part) == 10_000
    assert transport.reads()
    connection.data_received(bytes(500_000))
    assert not transport.reads()
    read_bytes = 0
    while not transport.reads():
        part = connection.next_event()
        assert isinstance(part, bytes)
        read_bytes += len(part)
    assert read_bytes > 490_000


async def test_a_head_larger_than_the_buffer_is_read_nevertheless() -> None:
    connection = UpstreamConnection(UpstreamLimits(max_buffer_bytes=10), "http://a.example:80")
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    connection.engine.start("GET")
    connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert not transport.reads()
    assert connection.next_event() is None
    assert transport.reads()


async def test_slow_upstreams_together_leave_places_for_others() -> None:
    pool, _ = pool_of(max_connections=400, max_connections_per_upstream=100)

    async def opened(endpoint: Endpoint) -> int:
        number = 0
        while True:
            try:
                await pool.acquire(endpoint, 0)
            except UpstreamBroken:
                return number
            number += 1

    greedy = [await opened(Endpoint("http", f"slow{number}.example", 80)) for number in range(10)]
    assert greedy[0] == 80, "a quarter of what it leaves free"
    assert min(greedy) >= SURE_CONNECTIONS
    assert await opened(A) >= SURE_CONNECTIONS


async def test_idle_connections_of_others_count_as_free() -> None:
    pool, _ = pool_of(max_connections=100, max_connections_per_upstream=20)
    leases = [await pool.acquire(Endpoint("http", f"idle{number}.example", 80), 1) for number in range(100)]
    for lease in leases:
        lease.release(True)
    for _ in range(20):
        await pool.acquire(A, 0)


async def test_tiny_chunks_are_read_by_turns() -> None:
    """One upstream that sends nothing else does not keep everybody waiting until all that came is read."""
    limits = UpstreamLimits()
    connection = UpstreamConnection(limits, "http://a.example:80")
    connection.connection_made(FakeTransport(connection))
    exchange = Exchange(connection, 1.0, lambda is_reusable: None)
    opening = asyncio.create_task(exchange.open(b"", UpstreamRequest("GET", "/", ()), lambda head: None))
    await turn()
    connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"
    )
    response = await opening
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    read_bytes = 0
    async for part in response.content:
        read_bytes += len(part)
    task.cancel()
    assert read_bytes == 10_000
    assert turns >= 10_000 // MAX_CHUNKS_PER_PART
