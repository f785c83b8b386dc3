"""`cdn up --dns`: the embedded size answers for its own zone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import dns.message
import dns.query
import dns.rcode

from tests.e2e.running import RunningCdn


async def test_a_site_resolves_as_soon_as_it_is_there(start_cdn: Callable[..., RunningCdn]) -> None:
    cdn = start_cdn("--dns", "127.0.0.1:0")
    host, _, port = cdn.dns.rpartition(":")

    def ask(name: str, rdtype: str = "A") -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, rdtype), host, 20, int(port))

    assert str((await asyncio.to_thread(ask, "cdn.localhost", "NS")).answer[0][0]) == "ns.cdn.localhost."
    assert (await asyncio.to_thread(ask, "blog.cdn.localhost")).rcode() == dns.rcode.NXDOMAIN
    assert cdn.call("POST", "/v1/sites", {"name": "blog"}).status == 201
    async with asyncio.timeout(30):
        while not (found := await asyncio.to_thread(ask, "blog.cdn.localhost")).answer:
            await asyncio.sleep(0.02)
    assert [str(record) for record in found.answer[0]] == ["127.0.0.1"]
    status = json.loads(cdn.call("GET", "/v1/status").content)
    assert len(status["nodes"]) == 1, "the name server is none"
