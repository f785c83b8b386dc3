"""Workers that die, hang and never listen: the node stays as it is, and replaces them without haste (DESIGN I10)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdn.edge import worker_pool
from cdn.edge.clocks import machine_clocks
from cdn.edge.limits import HttpLimits
from cdn.edge.listening_sockets import listening_sockets
from cdn.edge.site_view import SiteView
from cdn.edge.worker_frames import encode_message_frame
from cdn.edge.worker_messages import Beat, Listening, encode
from cdn.edge.worker_pool import FIRST_PAUSE_S, MAX_FAILED_STARTS, WorkerPool
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.worker_settings import WorkerSettings
from cdn.errors import InvalidInput, Unavailable
from cdn.journal.catalog_fold import CatalogFold
from cdn.purge.floors import Floors

SETTINGS = WorkerSettings(1, "cdn.test", "cdn", "/nowhere", 1 << 20, HttpLimits())

CLOCK = machine_clocks().monotonic

SCRIPT = """
import os, socket, sys, time
BEAT, LISTENING = {beat!r}, {listening!r}
relay = socket.socket(fileno=int(sys.argv[-1]))
with open({started!r}, "a") as file:
    file.write(str(os.getpid()) + chr(10))
{does}
while relay.recv(65536):
    pass
"""

LISTENS = "relay.sendall(LISTENING)"
BEATS = "while True:\n    relay.sendall(BEAT)\n    time.sleep(0.05)"


def command(tmp_path: Path, *does: str) -> tuple[str, ...]:
    """Starts a worker that writes down that it was started, and does as `does` says."""
    beat, listening = (encode_message_frame(encode(each)) for each in (Beat(1, {}, {}), Listening()))
    script = SCRIPT.format(beat=beat, listening=listening, started=str(tmp_path / "started"), does="\n".join(does))
    return (sys.executable, "-I", "-S", "-c", script)


def started(tmp_path: Path) -> list[int]:
    path = tmp_path / "started"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def pool_of(words: tuple[str, ...], clock: Callable[[], float] = CLOCK) -> AsyncIterator[WorkerPool]:
    relay = WorkerRelay(SiteView(CatalogFold("cdn.test"), Floors()), clock)
    sockets = listening_sockets("127.0.0.1", 0, 1)
    pool = await WorkerPool.start(SETTINGS, sockets, relay, command=words, clock=clock, on_used=lambda token: None)
    try:
        yield pool
    finally:
        await pool.aclose()


async def test_a_node_whose_workers_cannot_start_says_so_soon(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=f"ended {MAX_FAILED_STARTS} times before it listened"):
        async with pool_of(command(tmp_path, "sys.exit(3)")):
            raise AssertionError("it has not started")
    assert len(started(tmp_path)) == MAX_FAILED_STARTS


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="before it listened"):
        async with pool_of((str(tmp_path / "nothing"),)):
            raise AssertionError("it has not started")


async def test_a_worker_that_dies_again_and_again_is_replaced_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However fast it dies: so few starts, and one line of log for each."""
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        if delay_s >= FIRST_PAUSE_S and delay_s != worker_pool.CHECK_S:
            pauses.append(delay_s)
        await real(min(delay_s, 0.02))

    async with pool_of(command(tmp_path, LISTENS, "sys.exit(0)")) as pool:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await until(lambda: len(pauses) >= 8)
        assert pool.died >= 8
        monkeypatch.undo()
    assert pauses[-1] == worker_pool.LONGEST_PAUSE_S
    assert all(after >= before for before, after in itertools.pairwise(pauses))
    assert len([line for line in caplog.records if "is replaced" in line.message]) <= pool.died


async def test_a_worker_that_shows_life_and_never_listens_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(command(tmp_path, LISTENS)) as pool:
        first = pool.process_ids[0]
        pool._command = command(tmp_path, BEATS)
        monkeypatch.setattr(worker_pool, "START_S", 2.0)
        os.kill(first, signal.SIGKILL)
        await until(lambda: pool.hung >= 2)
        await until(lambda: len(started(tmp_path)) >= 3)


async def test_a_node_that_was_stopped_itself_kills_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a machine that slept: the node looks for signs of life before it reads those that wait."""
    monkeypatch.setattr(worker_pool, "HANG_S", 600.0)
    ahead_s = 0.0

    def with_sleep() -> float:
        return CLOCK() + ahead_s

    async with pool_of(command(tmp_path, LISTENS), with_sleep) as pool:
        before = pool.process_ids
        for _ in range(2):
            ahead_s += 3600.0
            await asyncio.sleep(2 * worker_pool.CHECK_S)  # it has looked
        assert (pool.process_ids, pool.hung) == (before, 0)


async def test_a_worker_that_cannot_be_started_for_want_of_descriptors_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(command(tmp_path, LISTENS)) as pool:
        real, failures = socket.socketpair, iter(range(2))

        def socketpair() -> tuple[socket.socket, socket.socket]:
            if next(failures, None) is not None:
                raise OSError(24, "Too many open files")
            return real()

        monkeypatch.setattr(socket, "socketpair", socketpair)
        first = pool.process_ids[0]
        os.kill(first, signal.SIGKILL)
        await until(lambda: pool.process_ids and pool.process_ids[0] != first and pool.counted()["workers"] == 1)
        assert pool.died == 3


# Where they listen


def test_a_port_that_somebody_else_listens_on_is_refused() -> None:
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(OSError, match="in use"):
                listening_sockets("127.0.0.1", other.getsockname()[1], 2)


def test_ipv6_and_every_address() -> None:
    for host, family in (("::1", socket.AF_INET6), ("::", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)):
        made = listening_sockets(host, 0, 3)
        try:
            assert {each.family for each in made} == {family}
            assert len({each.getsockname()[1] for each in made}) == 1
        finally:
            for each in made:
                each.close()


def test_a_name_of_several_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(family, socket.SOCK_STREAM, 6, "", (at, 80)) for family, at in ((10, "::1"), (2, "127.0.0.1"))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: found)
    with pytest.raises(InvalidInput, match=r"edge\.test is a name of several addresses \(127\.0\.0\.1, ::1\)"):
        listening_sockets("edge.test", 80, 2)


def test_sockets_kept_from_another_port_are_closed() -> None:
    old = listening_sockets("127.0.0.1", 0, 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = listening_sockets("127.0.0.1", port, 2, old)
    try:
        assert all(each.fileno() == -1 for each in old)
        assert [each.getsockname()[1] for each in made] == [port, port]
    finally:
        for each in made:
            each.close()


def test_more_and_fewer_workers_than_sockets_kept() -> None:
    old = listening_sockets("127.0.0.1", 0, 2)
    port = old[0].getsockname()[1]
    more = listening_sockets("127.0.0.1", port, 3, old)
    assert more[:2] == old
    fewer = listening_sockets("127.0.0.1", port, 1, more)
    try:
        assert fewer == old[:1]
        assert [each.fileno() == -1 for each in more] == [False, True, True]
    finally:
        fewer[0].close()
