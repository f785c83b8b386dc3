"""`cdn dns` as it runs: one process that answers questions, with its admin address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence

from cdn.cli.address import Address
from cdn.cli.admin import Admin, listening_admin
from cdn.cli.answering_process import answering_command
from cdn.cli.data_folder import DataFolder
from cdn.cli.dns_metrics import dns_metrics
from cdn.cli.dns_settings import DnsRole
from cdn.cli.listening import naming
from cdn.cli.metrics import Family
from cdn.cli.process_metrics import process_metrics
from cdn.dns.node import DnsNode

STARTING = "starting"
CATCHING_UP = "catching up with the journal and the fleet"
DRAINING = "draining"


class RunningDns:
    """`cdn dns`, serving."""

    def __init__(self, role: DnsRole) -> None:
        self.admin_url = ""
        self._role = role
        self._node: DnsNode | None = None
        self._stack = contextlib.AsyncExitStack()
        self._is_withdrawn = False
        self._has_caught_up = False

    @classmethod
    async def start(cls, role: DnsRole) -> RunningDns:
        """Answers at once what it knows from its own disk, also while control is away; ready once it has caught up.

        Raises CdnError, and OSError for folders that cannot be used.
        """
        running = cls(role)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(DataFolder(role.dns.data_dir, option="data_dir in [dns]").locked())
            admin = Admin("dns", running._why_not_ready, running._metrics)
            running.admin_url = await listening_admin(stack, admin, role.process.admin, "admin in [dns]")
            listen = role.process.listen
            with naming("listen in [dns]", " or ".join(map(str, listen))):
                node = running._node = await DnsNode.start(
                    role.dns, [(each.host, each.port) for each in listen], answering_command()
                )
            stack.push_async_callback(node.stop)
            watch = asyncio.create_task(running._watch(node), name="catching up")
            stack.callback(watch.cancel)
            running._stack = stack.pop_all()
        return running

    @property
    def node(self) -> DnsNode:
        """The role itself."""
        assert self._node is not None, "the role has started"
        return self._node

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """None: resolvers ask another name server of the zone meanwhile."""
        return ()

    def announce(self, *, is_json: bool) -> None:
        """Say where everything is."""
        settings = self._role.dns
        ports = zip(self._role.process.listen, self.node.ports, strict=True)
        listen = [str(Address(address.host, port)) for address, port in ports]
        if is_json:
            ready = {"dns": settings.dns_id, "listen": listen[0], "admin_url": self.admin_url, "all": listen}
            print(json.dumps(ready), flush=True)
            return
        print(f"dns       {settings.dns_id}, follows {' or '.join(settings.control_urls)}")
        print(f"zone      {settings.zone} at {', '.join(listen)}")
        print(f"admin     {self.admin_url}/readyz, /healthz, /metrics")
        print(f"data      {settings.data_dir}", flush=True)

    async def withdraw(self) -> None:
        """Fail readiness while every question is still answered."""
        self._is_withdrawn = True
        await asyncio.sleep(self._role.process.withdraw_s)

    async def aclose(self) -> None:
        """Answer what was asked, take nothing more, close everything."""
        await self._stack.aclose()

    async def _watch(self, node: DnsNode) -> None:
        await node.wait_caught_up()
        self._has_caught_up = True

    async def _why_not_ready(self) -> str | None:
        """Once caught up it stays ready without control: what it knew is frozen, and better than no answer."""
        if self._node is None:
            return STARTING
        if self._is_withdrawn:
            return DRAINING
        return None if self._has_caught_up else CATCHING_UP

    def _metrics(self) -> list[Family]:
        of_role = () if self._node is None else dns_metrics(self._node, has_caught_up=self._has_caught_up)
        return [*process_metrics("dns"), *of_role]
