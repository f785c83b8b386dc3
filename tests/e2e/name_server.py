"""A name server as operators start it, over control and edges that share a port on addresses of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from dns.message import Message

from tests.e2e.roles import ZONE, RoleFleet, RoleProcess

ADDRESSES: Mapping[str, str] = {"e1": "127.0.0.2", "e2": "127.0.0.3"}
PATIENCE_S = 60.0
ASK_TIMEOUT_S = 10.0


@dataclass(slots=True)
class NamedFleet:
    """`port` is that of both edges."""

    fleet: RoleFleet
    port: int = 0

    async def start(self, nodes: int = len(ADDRESSES)) -> RoleProcess:
        """Control, edges that control has heard, a site, and a name server that is ready and names all of them."""
        addresses = dict(list(ADDRESSES.items())[:nodes])
        control = self.fleet.start_control("detach_after_s = 6\n")
        await control.until_ready()
        for node_id, address in addresses.items():
            self._start_edge(node_id, address)
        for edge in self.fleet.edges.values():
            await edge.until_ready()
        self.fleet.call("POST", "/v1/sites", {"name": "blog"})
        self.fleet.deploy("blog", {"/index.html": b"<p>home</p>"})
        server = self.start_server()
        await server.until_ready()
        await self.until(server, "blog", set(addresses.values()))
        return server

    def start_server(self, more: str = "") -> RoleProcess:
        root = self.fleet.root
        (root / "ns1.token").write_text(self.fleet.token("dns:ns1"))
        config = root / "ns1.toml"
        config.write_text(
            f'[dns]\ndns_id = "ns1"\ndata_dir = "ns1"\nzone = "{ZONE}"\nhostmaster = "who@example.net"\n'
            f'name_servers = ["ns1.{ZONE} 127.0.0.1"]\ncontrol_url = "{self.fleet.url}"\ntoken_file = "ns1.token"\n'
            f'listen = ["127.0.0.1:0", "[::1]:0"]\nadmin = "127.0.0.1:0"\ncheck_port = {self.port}\n'
            f"check_interval_s = 0.2\nwithdraw_s = 0.3\n{more}"
            "[rate_limits]\nanswers_per_s = 1000000\n"  # all that tests ask comes from one network
        )
        server = self.fleet.made("dns", config)
        server.start()
        return server

    def _start_edge(self, node_id: str, address: str) -> None:
        root = self.fleet.root
        (root / f"{node_id}.token").write_text(self.fleet.token(f"node:{node_id}"))
        config = root / f"{node_id}.toml"
        config.write_text(
            f'[edge]\nnode_id = "{node_id}"\ndata_dir = "{node_id}"\nzone = "{ZONE}"\n'
            f'control_url = "{self.fleet.url}"\ntoken_file = "{node_id}.token"\nlisten = "{address}:{self.port}"\n'
            f'public_addresses = ["{address}"]\nadmin = "127.0.0.1:0"\n[store]\n{self.fleet.store}\n'
        )
        edge = self.fleet.edges[node_id] = self.fleet.made("edge", config)
        edge.start()
        if not self.port:  # a free one was found; from now on it is this edge's too
            self.port = int(edge.ready["http_url"].rpartition(":")[2])
            config.write_text(config.read_text().replace(f"{address}:0", f"{address}:{self.port}"))

    async def until(self, server: RoleProcess, site: str, addresses: set[str]) -> None:
        """Return once answers for the site name these addresses and no others."""
        async with asyncio.timeout(PATIENCE_S):
            while addresses_in(await ask(server, f"{site}.{ZONE}", "A")) != addresses:
                await asyncio.sleep(0.05)

    async def share(self, server: RoleProcess, node_id: str) -> float:
        """The part of a node's weight that stands in answers."""
        return (await asyncio.to_thread(server.metrics))[f'cdn_dns_node_share{{node="{node_id}"}}']


async def ask(server: RoleProcess, name: str, rdtype: str, *, is_tcp: bool = False, which: int = 0) -> Message:
    """The response of its address number `which`."""
    host, _, port = server.ready["all"][which].rpartition(":")
    query = dns.message.make_query(name, rdtype, use_edns=0)
    exchange = dns.query.tcp if is_tcp else dns.query.udp
    return await asyncio.to_thread(exchange, query, host.strip("[]"), ASK_TIMEOUT_S, int(port))


def addresses_in(response: Message) -> set[str]:
    return {str(record) for rrset in response.answer for record in rrset}
