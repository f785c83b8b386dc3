"""Strangers at control's door: they dribble, they flood, they speak something else."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdn.control.listener import MAX_LINE_BYTES, listening
from tests.control.control_room import Control


@asynccontextmanager
async def door(control: Control, *, idle_timeout_s: float = 75.0, max_connections: int = 100) -> AsyncIterator[int]:
    application = control.plane.application()
    async with listening(
        application, "127.0.0.1", 0, idle_timeout_s=idle_timeout_s, max_connections=max_connections
    ) as port:
        yield port


async def say(port: int, content: bytes) -> bytes:
    """Everything that comes back until control closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "content",
    [
        b"FOO / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
        b"GET /" + b"x" * 2 * MAX_LINE_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2 * MAX_LINE_BYTES + b"\r\n\r\n",
        b"POST /v1/sites HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_and_no_traceback(
    control: Control, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    caplog.set_level(logging.INFO)
    async with door(control) as port:
        head, _, answer = (await say(port, content)).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"400"
    assert b"application/problem+json" in head
    assert b"bytearray" not in answer
    assert json.loads(answer)["status"] == 400
    assert not caplog.records


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_head_that_never_ends_holds_a_connection_for_a_while_only(control: Control, begun: bytes) -> None:
    async with door(control, idle_timeout_s=0.1) as port:
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert time.monotonic() - started >= 0.09
        writer.close()


async def test_connections_are_bounded_and_free_again(control: Control) -> None:
    async with door(control, max_connections=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for reader, writer in held:  # both are served, so both are counted
            writer.write(ask.replace(b"Connection: close\r\n", b""))
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert await say(port, b"") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            while not (await say(port, ask)).startswith(b"HTTP/1.1 200"):
                await asyncio.sleep(0)


async def test_content_counts_as_it_was_sent(control: Control) -> None:
    """A Content-Encoding would unpack a bomb before any limit of an archive is asked."""
    await control.api.post("/v1/sites", {"name": "blog"})
    content = gzip.compress(json.dumps({"everything": True}).encode())
    head = (
        "POST /v1/sites/blog/purges HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
        f"Authorization: Bearer {control.admin_token}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    async with door(control) as port:
        assert (await say(port, head.encode() + content)).startswith(b"HTTP/1.1 400 ")
