"""`cdn control` and `cdn edge` as they run: one role in one process, with its admin address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence

from cdn.cli.address import Address
from cdn.cli.admin import Admin, listening_admin
from cdn.cli.control_metrics import control_metrics
from cdn.cli.control_part import ControlPart, token_kept
from cdn.cli.data_folder import DataFolder, StoreChoice
from cdn.cli.edge_metrics import edge_metrics
from cdn.cli.listening import naming, reachable
from cdn.cli.metrics import Family
from cdn.cli.process_metrics import process_metrics
from cdn.cli.role_settings import ControlRole, EdgeRole
from cdn.cli.visitor_countries import VisitorCountries
from cdn.cli.worker_process import worker_command
from cdn.edge.node import EdgeNode
from cdn.errors import CdnError, Conflict, Unavailable
from cdn.origin.opening import open_store

JOURNAL_PATIENCE_S = 2.0
"""How long the journal may think before control counts as not ready."""

STARTING = "starting"
CATCHING_UP = "catching up with the journal"
DRAINING = "draining"


class RunningControl:
    """`cdn control`, serving."""

    def __init__(self, role: ControlRole) -> None:
        self.admin_url = ""
        self._role = role
        self._control: ControlPart | None = None
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def start(cls, role: ControlRole) -> RunningControl:
        """Raises CdnError, and OSError for folders that cannot be used."""
        running, folder = cls(role), role.folder
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(folder.locked())
            settled = folder.settle_store(role.store.url, role.store.endpoint_url)
            choice = StoreChoice(settled.url, role.store.endpoint_url)  # the file says which, not what was there before
            admin = Admin("control", running._why_not_ready, running._metrics)
            running.admin_url = await listening_admin(stack, admin, role.process.admin, "admin in [control]")
            control = running._control = await ControlPart.start(
                stack,
                folder,
                choice,
                role.control,
                role.process.listen,
                option="listen in [control]",
                shared=role.journal,
                shutdown_timeout_s=role.process.drain_timeout_s,
                tls=role.process.tls,
                zone_keys=role.zone_keys,
                issuing=role.issuing,
                control_keys=role.control_keys,
            )
            await token_kept(control.plane, folder, "admin", "made by cdn control")
            folder.keep_control_url(control.url)
            running._stack = stack.pop_all()
        return running

    @property
    def control(self) -> ControlPart:
        """The role itself."""
        assert self._control is not None, "control has started"
        return self._control

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """None: those who call control call again."""
        return ()

    def announce(self, *, is_json: bool) -> None:
        """Say where everything is."""
        if is_json:
            print(json.dumps({"control_url": self.control.url, "admin_url": self.admin_url}), flush=True)
            return
        path = self._role.folder.path
        print(f"control   {self.control.url}")
        print(f"admin     {self.admin_url}/readyz, /healthz, /metrics")
        print(f"data      {path}")
        print(f"commands  CDN_CONTROL_URL={self.control.url} CDN_TOKEN=$(cat {path / 'admin-token'})", flush=True)

    async def withdraw(self) -> None:
        """Fail readiness, and say with every answer that its connection closes."""
        self.control.withdrawal.is_on = True
        await asyncio.sleep(self._role.process.withdraw_s)

    async def until_ended(self) -> CdnError:
        """Return when the journal has begun another epoch: a new process loads its snapshot and goes on."""
        await self.control.plane.state.epoch_ended.wait()
        return Conflict("the journal has begun another epoch, by a restore: start control again")

    async def aclose(self) -> None:
        """Finish requests under way, close the followers' connections, close everything."""
        await self._stack.aclose()

    async def _why_not_ready(self) -> str | None:
        if self._control is None:
            return STARTING
        if self._control.withdrawal.is_on:
            return DRAINING
        try:
            async with asyncio.timeout(JOURNAL_PATIENCE_S):
                await self._control.plane.state.journal.position()
        except TimeoutError:
            return f"the journal did not answer within {JOURNAL_PATIENCE_S:g} s"
        except Unavailable as exc:
            return exc.message
        return None

    def _metrics(self) -> list[Family]:
        of_role = () if self._control is None else control_metrics(self._control.plane)
        return [*process_metrics("control"), *of_role]


class RunningEdge:
    """`cdn edge`, serving."""

    def __init__(self, role: EdgeRole) -> None:
        self.admin_url = ""
        self._role = role
        self._edge: EdgeNode | None = None
        self._stack = contextlib.AsyncExitStack()
        self._is_withdrawn = False
        self._has_caught_up = False

    @classmethod
    async def start(cls, role: EdgeRole, kept: Sequence[socket.socket] | None = None) -> RunningEdge:
        """Serves at once what it knows from its own disk, also while control is away; ready once it has caught up.

        `kept` are listening sockets from the process before; None when nobody keeps any.
        Raises CdnError, and OSError for folders that cannot be used.
        """
        running = cls(role)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(DataFolder(role.edge.data_dir, option="data_dir in [edge]").locked())
            admin = Admin("edge", running._why_not_ready, running._metrics)
            running.admin_url = await listening_admin(stack, admin, role.process.admin, "admin in [edge]")
            store = open_store(role.store.url, role.store.endpoint_url)
            stack.push_async_callback(store.aclose)
            with naming("listen in [edge]", role.process.listen):
                edge = running._edge = await EdgeNode.start(
                    role.edge,
                    store,
                    sockets=kept,
                    worker_command=worker_command(),
                    countries=await _countries(role),
                )
            stack.push_async_callback(edge.stop)
            watch = asyncio.create_task(running._watch(edge), name="catching up")
            stack.callback(watch.cancel)
            running._stack = stack.pop_all()
        return running

    @property
    def edge(self) -> EdgeNode:
        """The role itself."""
        assert self._edge is not None, "the edge has started"
        return self._edge

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Listening sockets that may outlive this process."""
        return self.edge.sockets

    def announce(self, *, is_json: bool) -> None:
        """Say where everything is."""
        settings = self._role.edge
        http_url = f"http://{reachable(Address(settings.host, self.edge.port))}"
        if is_json:
            document = {"node": settings.node_id, "http_url": http_url, "admin_url": self.admin_url}
            if self._https_url:
                document["https_url"] = self._https_url
            if self._peers_url:
                document["peers_url"] = self._peers_url
            print(json.dumps(document), flush=True)
            return
        print(f"node      {settings.node_id}, follows {' or '.join(settings.control_urls)}")
        print(f"sites     http://NAME.{settings.zone}:{self.edge.port}/")
        if self._https_url:
            print(f"          https://NAME.{settings.zone}:{self.edge.https_port}/")
        print(f"admin     {self.admin_url}/readyz, /healthz, /metrics")
        if self._peers_url:
            print(f"shield    {self._peers_url}")
        print(f"data      {settings.data_dir}", flush=True)

    @property
    def _https_url(self) -> str:
        """Where visitors connect by https; empty: nowhere."""
        port = self.edge.https_port
        return "" if port is None else f"https://{reachable(Address(self._role.edge.https_host, port))}"

    @property
    def _peers_url(self) -> str:
        """Where other nodes ask this one; empty: nowhere."""
        settings, port = self._role.edge.peers, self.edge.shielding.port
        if port is None:
            return ""
        scheme = "http" if settings.tls is None else "https"
        return f"{scheme}://{reachable(Address(settings.host, port))}"

    @property
    def may_reopen(self) -> bool:
        """Whether there is an access log in a file."""
        return self.edge.keeps_log

    def reopen(self) -> None:
        """Go on in a new file."""
        self.edge.reopen_log()

    async def withdraw(self) -> None:
        """Fail readiness, and say with every answer that its connection closes."""
        self._is_withdrawn = True
        await self.edge.withdraw()
        await asyncio.sleep(self._role.process.withdraw_s)

    async def aclose(self) -> None:
        """Accept nothing more, finish requests under way, give the lease back, close everything."""
        await self._stack.aclose()

    async def _watch(self, edge: EdgeNode) -> None:
        await edge.follower.wait_caught_up()
        self._has_caught_up = True

    async def _why_not_ready(self) -> str | None:
        """Once caught up the node stays ready without control too: when control is away, no node would be left."""
        if self._edge is None:
            return STARTING
        if self._is_withdrawn:
            return DRAINING
        return None if self._has_caught_up else CATCHING_UP

    def _metrics(self) -> list[Family]:
        of_role = () if self._edge is None else edge_metrics(self._edge, has_caught_up=self._has_caught_up)
        return [*process_metrics("edge"), *of_role]


async def _countries(role: EdgeRole) -> VisitorCountries:
    """Where visitors are; a file that cannot be used is said before anybody is answered. Raises InvalidInput."""
    file = role.edge.geography_file
    countries = VisitorCountries(file, role.edge.geography_dir)
    if file is not None:
        await countries.ready()
    return countries
