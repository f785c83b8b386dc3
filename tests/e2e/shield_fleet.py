"""Control, a shield and edges behind it, each a process of its own, that speak to each other by mutual TLS."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.calls import packed
from tests.e2e.roles import ZONE, RoleFleet, RoleProcess
from tests.e2e.running import Answer
from tests.servers.authority import Authority

QUICK_LEASE = "heartbeat_s = 0.4\ndetach_after_s = 3\n"


@dataclass(slots=True)
class ShieldFleet:
    """Make it with `start`."""

    roles: RoleFleet
    authority: Authority
    nodes_environ: Mapping[str, str]
    shield: RoleProcess | None = None
    shield_url: str = ""
    edges: dict[str, RoleProcess] = field(default_factory=dict)

    @classmethod
    def over(cls, root: Path, roles: RoleFleet, nodes_environ: Mapping[str, str] | None = None) -> ShieldFleet:
        """`nodes_environ`: what shield and edges are given in place of the control's environment."""
        return cls(roles, Authority(root / "authority"), roles.environ if nodes_environ is None else nodes_environ)

    async def start(self, *edges: str, patience_s: float = 20.0, more: str = "") -> None:
        """Control, the shield, and edges that have caught up."""
        shown = self.authority.issue("control", "IP:127.0.0.1")
        own = f'{QUICK_LEASE}{shown.toml()}client_ca_file = "{self.authority.ca_file}"\n'
        control = await asyncio.to_thread(self.roles.start_control, own)
        await control.until_ready()
        self.roles.environ = self.nodes_environ
        self.shield = await asyncio.to_thread(self._start_node, "shield", self._peers("127.0.0.1:0"), more)
        self.shield_url = self.shield.ready["peers_url"]
        await self.shield.until_ready()
        for node_id in edges:
            await self.add(node_id, patience_s=patience_s, more=more)

    async def add(self, node_id: str, *, patience_s: float = 20.0, more: str = "") -> RoleProcess:
        """An edge behind the shield."""
        shown = self.authority.issue(node_id)
        asks = (
            f'[shield]\nurls = ["{self.shield_url}"]\npatience_s = {patience_s}\n{shown.toml()}'
            f'ca_file = "{self.authority.ca_file}"\n'
        )
        edge = await asyncio.to_thread(self._start_node, node_id, asks, more)
        await edge.until_ready()
        return edge

    def fix_port(self) -> None:
        """When the shield starts again it listens where it did."""
        assert self.shield is not None
        port = urlsplit(self.shield_url).port
        text = self.shield.config.read_text()
        before, peers, after = text.partition("[peers]\n")
        self.shield.config.write_text(before + peers + after.replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))

    def call(self, method: str, path: str, content: Any = None) -> Any:
        """A call to the API that must succeed; its document."""
        url = urlsplit(self.roles.url)
        tls = ssl.create_default_context(cafile=self.authority.ca_file)
        token = (self.roles.root / "control" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        raw = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        if raw is not None and not isinstance(content, bytes):
            fields["Content-Type"] = "application/json"
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=60, context=tls)
        try:
            connection.request(method, path, body=raw, headers=fields)
            response = connection.getresponse()
            document = json.loads(response.read())
            assert response.status < 400, document
            return document
        finally:
            connection.close()

    def purge(self, site: str, **what: Any) -> Any:
        """The receipt, when every node has answered or is surely cut off."""
        return self.call("POST", f"/v1/sites/{site}/purges?wait=30", what or {"everything": True})

    def deploy(self, site: str, files: dict[str, bytes]) -> Any:
        return self.call("POST", f"/v1/sites/{site}/deploys?wait=30", packed(files))

    def visit(self, node_id: str, site: str, target: str = "/") -> Answer:
        connection, response = self.open(node_id, site, target)
        try:
            content = response.read()
            names = {name.lower() for name, _ in response.getheaders()}
            fields = {name: ", ".join(response.headers.get_all(name) or ()) for name in names}
            return Answer(response.status, fields, content)
        finally:
            connection.close()

    def open(self, node_id: str, site: str, target: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A request whose response has begun."""
        process = self.shield if node_id == "shield" else self.edges[node_id]
        assert process is not None
        url = urlsplit(process.ready["http_url"])
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
        connection.request("GET", target, headers={"Host": f"{site}.{ZONE}"})
        return connection, connection.getresponse()

    async def until_shielded(self, node_id: str, site: str, name: str) -> None:
        """Until a miss of this edge goes through the shield."""
        number = 0
        async with asyncio.timeout(60):
            while "cdn-shield" not in (await self.visiting(node_id, site, f"/{name}{number}")).cache_status:
                number += 1
                await asyncio.sleep(0.1)

    async def visiting(self, node_id: str, site: str, target: str = "/") -> Answer:
        return await asyncio.to_thread(self.visit, node_id, site, target)

    def _start_node(self, node_id: str, tables: str, more: str) -> RoleProcess:
        token = str(self.call("POST", "/v1/tokens", {"scopes": [f"node:{node_id}"]})["token"])
        shown = self.authority.issue(f"{node_id}-2")
        of_control = f'[control_tls]\nca_file = "{self.authority.ca_file}"\n{shown.toml()}'
        settings = f"allows_private_upstreams = true\n{more}\n{tables}\n{of_control}"
        node = self.roles.start_edge(node_id, settings, token)
        self.edges[node_id] = node
        return node

    def _peers(self, listen: str) -> str:
        shown = self.authority.issue("shield", "IP:127.0.0.1")
        return f'[peers]\nlisten = "{listen}"\n{shown.toml()}client_ca_file = "{self.authority.ca_file}"\n'
