"""Several answering processes on one port: they know what their supervisor knows, and none takes questions with it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from dns.message import Message

from cdn.cli.answering_process import answering_command
from cdn.dns import answering_child as child_module
from cdn.dns import answering_pool as pool_module
from cdn.dns.answering import Answering
from cdn.dns.answering_child import AnsweringChild
from cdn.dns.answering_messages import Down, Resumed, Setup, framed, read_down
from cdn.dns.answering_pool import AnsweringPool
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.kept_view import kept_view
from cdn.dns.listeners import Listeners
from cdn.dns.node import DnsNode
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.fleet.withdrawal import ShareReason
from cdn.journal.record import Audience, ChallengeSet, Change, Record, SiteCreated
from tests.dns.test_dns_node import PATIENCE_S, ZONE, keep_a_copy, settings

pytestmark = pytest.mark.timeout(180)  # processes start, on a machine that may do much else

PROCESSES = 2
CLIENTS = 24
"""Of so many, all are given to one of two processes once in eight million runs."""


@asynccontextmanager
async def started(path: Path, *hosts: str, processes: int = PROCESSES) -> AsyncIterator[DnsNode]:
    listen = [(host, 0) for host in hosts or ("127.0.0.1",)]
    node = await DnsNode.start(replace(settings(path), processes=processes), listen, answering_command())
    try:
        yield node
    finally:
        await node.stop()


def pool_of(node: DnsNode) -> AnsweringPool:
    assert node.pool is not None
    return node.pool


class Client:
    """Sends a question from a port of its own, which decides who gets it."""

    def __init__(self, node: DnsNode, name: str = f"blog.{ZONE}", which: int = 0, rdtype: str = "A") -> None:
        self.question = dns.message.make_query(name, rdtype)
        address = node.addresses[which]
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.connect((address.host, address.port))

    def send(self) -> None:
        self.socket.send(self.question.to_wire())

    async def hear(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            response = dns.message.from_wire(await asyncio.get_running_loop().sock_recv(self.socket, 4096))
        assert response.id == self.question.id
        return response

    async def ask(self) -> Message:
        self.send()
        return await self.hear()


@asynccontextmanager
async def clients(node: DnsNode, count: int = CLIENTS, which: int = 0) -> AsyncIterator[list[Client]]:
    made = [Client(node, which=which) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.socket.close()


def kept(path: Path) -> SeenFleet:
    seen = kept_view(path / "fleet.json")
    assert seen is not None
    return seen


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_all_of_them_answer_what_the_supervisor_knows(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns", "127.0.0.1", "::1") as node:
        for which in (0, 1):
            async with clients(node, which=which) as asking:
                for client in asking:
                    assert [str(record) for record in (await client.ask()).answer[0]] == ["192.0.2.1"]
        reader, writer = await asyncio.open_connection("127.0.0.1", node.ports[0])
        with closing(writer):
            wire = dns.message.make_query(f"blog.{ZONE}", "A").to_wire()
            writer.write((len(wire).to_bytes(2, "big") + wire) * 3)
            for _ in range(3):
                length = int.from_bytes(await reader.readexactly(2), "big")
                assert dns.message.from_wire(await reader.readexactly(length)).answer
        await until(lambda: node.counted().get("rcodes.noerror") == 2 * CLIENTS + 3)
        assert node.counted()["queries.tcp"] == 3
        assert node.counted()["queries.udp"] == 2 * CLIENTS
        assert node.counted()["tcp.connections"] == 1

        # What happens later reaches all of them too.
        tell(node, 42, SiteCreated("s2", "later", {}))
        async with clients(node) as asking:
            for client in asking:
                client.question = dns.message.make_query(f"later.{ZONE}", "A")
                while (await client.ask()).rcode() == dns.rcode.NXDOMAIN:
                    await asyncio.sleep(0.01)
        challenge = f"_acme-challenge.blog.{ZONE}"
        tell(node, 43, ChallengeSet(challenge, "token", 1e11))
        async with clients(node) as asking:
            for client in asking:
                client.question = dns.message.make_query(challenge, "TXT")
                while not (await client.ask()).answer:
                    await asyncio.sleep(0.01)


def tell(node: DnsNode, sequence: int, change: Change) -> None:
    """As the follower does."""
    record = Record(2, "e1", sequence, "", 0.0, "", Audience.ALL, change)
    for fold in node.answering.folds:
        fold.apply(record)
    node.on_records([record], Position("e1", sequence))


async def test_one_that_is_killed_takes_no_question_with_it_that_it_had_not_read(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        pool = pool_of(node)
        victims = pool.process_ids
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        async with clients(node) as asking:
            for client in asking:
                client.send()
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            for client in asking:
                assert (await client.hear()).answer
        assert pool.died == len(victims)
        assert not set(pool.process_ids) & set(victims)
        await until(lambda: pool.answering == PROCESSES)


async def test_the_others_answer_while_one_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was counted before is counted on."""
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        pool = pool_of(node)
        async with clients(node) as asking:
            for client in asking:
                await client.ask()
            await until(lambda: node.counted().get("queries.udp") == CLIENTS)
            monkeypatch.setattr(pool, "_command", ("false",))
            os.kill(pool.process_ids[0], signal.SIGKILL)
            await until(lambda: pool.died >= 2)  # its successors fail
            for client in asking:
                client.send()
            answers = await asyncio.gather(
                *(asyncio.wait_for(client.hear(), 2) for client in asking), return_exceptions=True
            )
            answered = sum(isinstance(each, Message) for each in answers)
            assert 0 < answered < CLIENTS
            monkeypatch.setattr(pool, "_command", answering_command())
            for client, answer in zip(asking, answers, strict=True):
                if not isinstance(answer, Message):
                    assert (await client.hear()).answer
            await until(lambda: node.counted().get("queries.udp") == 2 * CLIENTS)


async def test_one_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        pool = pool_of(node)
        monkeypatch.setattr(pool_module, "HANG_S", 2.0)
        hanging = pool.process_ids[0]
        os.kill(hanging, signal.SIGSTOP)
        async with clients(node) as asking:
            for client in asking:
                assert (await client.ask()).answer
        assert pool.hung >= 1
        assert hanging not in pool.process_ids


async def test_one_that_reads_all_zones_anew_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        pool = pool_of(node)
        reading = pool.process_ids
        assert node.position is not None
        node.on_snapshot(node.position, epoch_changed=False)
        monkeypatch.setattr(pool_module, "HANG_S", 1.5)
        for pid in reading:
            os.kill(pid, signal.SIGSTOP)  # as if that took long
        await asyncio.sleep(2.5)
        monkeypatch.undo()
        for pid in reading:
            os.kill(pid, signal.SIGCONT)
        async with clients(node) as asking:
            for client in asking:
                assert (await client.ask()).answer
        assert (pool.hung, pool.process_ids) == (0, reading)


async def test_stopping_answers_what_those_have_left_who_hang(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    told = replace(settings(tmp_path / "ns"), processes=PROCESSES)
    node = await DnsNode.start(told, [("127.0.0.1", 0)], answering_command())
    for pid in pool_of(node).process_ids:
        os.kill(pid, signal.SIGSTOP)
    async with clients(node) as asking:
        for client in asking:
            client.send()
        await node.stop()
        for client in asking:
            assert (await client.hear()).answer
        with pytest.raises(ConnectionRefusedError):
            await asking[0].ask()


async def test_a_process_that_cannot_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LONGEST_PAUSE_S", 0.01)
    with pytest.raises(Unavailable, match="do not start"):
        await DnsNode.start(replace(settings(tmp_path / "ns"), processes=2), [("127.0.0.1", 0)], ("false",))


async def test_a_port_of_another_server_is_not_shared(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        with pytest.raises(OSError, match="in use"):
            await DnsNode.start(
                replace(settings(tmp_path / "two"), processes=2), [("127.0.0.1", node.ports[0])], answering_command()
            )


async def test_where_nobody_answered_before_no_node_has_to_rise(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "one", processes=1) as node:  # which has heard of no fleet
        [told] = [each for each in node._greeting() if isinstance(each, Resumed)]
        child = Answering(settings(tmp_path / "two"), (b"s" * 16,))
        child.fleet.resume(told.shares)
        for fleet in (node.fleet, child.fleet):
            fleet.hear(kept(tmp_path / "ns"), time.monotonic())
            fleet.look(frozenset(), time.monotonic())
            assert [each.share.reason for each in fleet.shares()] == [ShareReason.FULL]


async def test_a_place_stays_taken_whatever_fails_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        pool, greeting = pool_of(node), node._greeting

        def broken() -> list[Down]:
            monkeypatch.setattr(pool, "_greeting", greeting)
            raise LookupError("nobody thought of this")

        monkeypatch.setattr(pool, "_greeting", broken)
        os.kill(pool.process_ids[0], signal.SIGKILL)
        await until(lambda: pool.died >= 2 and pool.answering == PROCESSES)
        assert "nobody thought of this" in caplog.text


async def test_a_look_that_fails_is_not_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ns").mkdir()
    monkeypatch.setattr(child_module, "LOOK_EVERY_S", 0.01)
    here, there = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=here)
    with there, closing(writer):
        child = AnsweringChild(Setup(settings(tmp_path / "ns"), (b"s" * 16,)), writer)
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise LookupError("nobody thought of this")

        monkeypatch.setattr(child._answering, "look", look)
        child._listeners = await Listeners.start(
            (), (), child._settings.tcp, answer_udp=child._answering.answer_udp, answer_tcp=child._answering.answer_tcp
        )
        looking = asyncio.create_task(child._look_again_and_again())
        await until(lambda: looks > 1 or looking.done())
        assert not looking.done()
        looking.cancel()


async def test_a_new_one_takes_no_rising_node_for_a_whole_one(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "one", processes=1) as node:
        node.fleet.hear(kept(tmp_path / "ns"), time.monotonic())
        node.fleet.look(frozenset({"192.0.2.1"}), time.monotonic())
        node.fleet.look(frozenset(), time.monotonic())
        [rising] = node.fleet.shares()
        assert rising.share.reason is ShareReason.RAMPING
        child = Answering(settings(tmp_path / "two"), (b"s" * 16,))
        child.fleet.hear(kept(tmp_path / "ns"), time.monotonic())
        [told] = [each for each in node._greeting() if isinstance(each, Resumed)]
        reader = asyncio.StreamReader()
        reader.feed_data(framed(told))
        heard = await read_down(reader)
        assert isinstance(heard, Resumed)
        child.fleet.resume(heard.shares)
        child.look()
        assert [each.share.reason for each in child.fleet.shares()] == [ShareReason.RAMPING]
