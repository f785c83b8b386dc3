"""What connections leave behind in the process: nothing."""

from __future__ import annotations

import pytest

from tests.h2 import frames
from tests.h2.frames import END_HEADERS, Setting
from tests.h2.serving import Serving

LEFT_BYTES = 4 * 1024
"""Of each connection at most, for what the allocator does not give back; one that is kept takes 27 KiB."""


ARENA_BYTES = 1 << 20
"""Python takes memory from the system so much at a time, and may have begun a piece just before."""


def come_and_go(serving: Serving, transport: str, number: int) -> None:
    """A connection with a request of every kind, which ends in one of several ways."""
    client = serving.connect(transport).start({Setting.INITIAL_WINDOW_SIZE: 100_000})
    assert client.ask("/a", extra=[("x-number", str(number))]).status == 200
    assert client.ask(f"/head?{number}").status == 200
    assert client.ask("/echo", "POST", content=b"x" * 9_000).status == 200
    waiting, _ = client.request(f"/held/{number % 7}"), client.request("/big")
    upload, head = client.head("/counted/memory", "POST", is_end=False)
    client.send(head, frames.data(upload, b"x" * 5_000, 0))
    match number % 4:
        case 0:
            client.send(frames.rst_stream(waiting), frames.goaway())
        case 1:
            client.send(frames.headers(upload + 2, b"\0", END_HEADERS))
        case 2:
            client.send(frames.headers(upload + 2, client.block(client.fields()), 0))
        case _:
            client.barrier()
    client.abort()


@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_nothing_is_left_of_connections(serving: Serving, transport: str) -> None:
    tasks = serving.state()["tasks"]
    for number in range(100):
        come_and_go(serving, transport, number)
    serving.wait_until(lambda state: state["tasks"] <= tasks)
    before = serving.memory_bytes()
    for number in range(300):
        come_and_go(serving, transport, number)
    serving.wait_until(lambda state: state["tasks"] <= tasks)
    grown = serving.memory_bytes() - before
    assert grown < 300 * LEFT_BYTES + ARENA_BYTES, f"{grown} octets of 300 connections"
