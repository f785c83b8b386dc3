"""Zones, keys and challenges as their users meet them: commands, a real name server, and `kill -9` in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype

from tests.e2e.running import RunningCdn

ZONE = """\
$ORIGIN example.org.
$TTL 300
@    SOA   ns1 hostmaster 1 7200 900 1209600 300
@    NS    ns1
ns1  A     192.0.2.53
@    ALIAS blog.cdn.localhost.
www  CNAME blog.cdn.localhost.
"""
CHALLENGE = "_acme-challenge.www.example.org"


class Resolver:
    """Asks again until the name server has what was recorded."""

    def __init__(self, cdn: RunningCdn) -> None:
        host, _, port = cdn.dns.rpartition(":")
        self._at = host, int(port)

    async def ask(self, name: str, rdtype: str, *, is_signed: bool = False) -> dns.message.Message:
        host, port = self._at
        query = dns.message.make_query(name, rdtype, want_dnssec=is_signed)
        return await asyncio.to_thread(dns.query.udp, query, host, 20, port)

    async def until(self, name: str, rdtype: str, expected: set[str]) -> None:
        """Return once the answer has these records of the type and no others."""
        async with asyncio.timeout(60):
            while True:
                answer = (await self.ask(name, rdtype)).answer
                wanted = dns.rdatatype.from_text(rdtype)
                if {str(each) for rrset in answer for each in rrset if rrset.rdtype == wanted} == expected:
                    return
                await asyncio.sleep(0.05)


async def test_a_zone_is_answered_signed_and_there_after_a_kill(
    start_cdn: Callable[..., RunningCdn], tmp_path: Path
) -> None:
    cdn = start_cdn("--dns", "127.0.0.1:0")
    cdn.run("site", "create", "blog")
    (tmp_path / "zone").write_text(ZONE)
    assert cdn.run("zone", "import", str(tmp_path / "zone"))["zone"] == "example.org"
    resolver = Resolver(cdn)
    await resolver.until("example.org", "A", {"127.0.0.1"})
    await resolver.until("www.example.org", "CNAME", {"blog.cdn.localhost."})
    (key,) = cdn.run("zone", "sign", "example.org", "--on")["keys"]
    challenge = {"name": CHALLENGE, "value": "token", "expires_s": 3600}
    assert cdn.call("POST", "/v1/challenges", challenge).status == 201
    await resolver.until(CHALLENGE, "TXT", {'"token"'})
    cdn.kill()
    cdn.start()
    resolver = Resolver(cdn)
    await resolver.until(CHALLENGE, "TXT", {'"token"'})
    await resolver.until("example.org", "A", {"127.0.0.1"})
    signed = await resolver.ask("ns1.example.org", "A", is_signed=True)
    signatures = [rrset for rrset in signed.answer if rrset.rdtype == dns.rdatatype.RRSIG]
    assert [each.key_tag for rrset in signatures for each in rrset] == [key["key_tag"]]
    _no_edge_was_told(cdn.folder / "data" / "edge")


def _no_edge_was_told(folder: Path) -> None:
    """Neither the zone, nor its sealed key, nor the challenge lies in what an edge keeps."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    for path in found:
        content = path.read_bytes()
        for word in (b"zone.set", b"zone.keys", b"challenge.set", b"192.0.2.53"):
            assert word not in content, path
