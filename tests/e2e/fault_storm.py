"""Deploys, purges and visitors' requests without pause, while parts of a fleet fail; every answer is judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from dns.exception import DNSException
from dns.rcode import Rcode

from tests.e2e.acknowledged import Broken, Shown, SiteAcknowledged
from tests.e2e.calls import packed
from tests.e2e.fault_field import EDGES, NAMER, ZONE, CallFailed, Field
from tests.e2e.name_server import ask

RECEIPT_WAIT_S = 5
"""Longer than a lease takes to be surely over."""

AVOIDED_S = 5.0
"""So long another replica of control is preferred to one that failed."""

AUTHOR_PAUSE_S = 0.15
VISITOR_PAUSE_S = 0.08
ASKER_PAUSE_S = 0.2
VISIT_TIMEOUT_S = 30.0
UNSAID_S = 1.0
"""So long after a process goes on it may not have noticed yet that its lease is over."""

LINES_PER_PAGE = 300

LISTED_SURELY = 300
"""Of an author's deploys the last so many: control lists a thousand, those among them that got no answer."""

CALL_FAULTS = (CallFailed, OSError, TimeoutError, aiohttp.ClientError)
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StormSite:
    """`validates`: it wants nodes without a lease to ask."""

    name: str
    is_pull: bool
    validates: bool


SITES = (
    StormSite("blog", is_pull=False, validates=False),
    StormSite("news", is_pull=False, validates=True),
    StormSite("shop", is_pull=True, validates=False),
    StormSite("mall", is_pull=True, validates=True),
)


def page(site: str, number: int) -> bytes:
    """What a site shows after its change with this number."""
    return f"{site} {number}\n".encode() * LINES_PER_PAGE


@dataclass(slots=True)
class Storm:
    """Use `raging`. `hurt` names nodes whose visitors may be refused now; what is shown is judged all the same."""

    fleet: Field
    rng: random.Random
    sites: dict[str, SiteAcknowledged] = field(default_factory=dict)
    hurt: set[str] = field(default_factory=set)
    lapsed_until: dict[str, float] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _turned_away: set[str] = field(default_factory=set)
    _said_detached: set[str] = field(default_factory=set)
    _calls: dict[asyncio.Task[Any], str] = field(default_factory=dict)
    _failed_at: dict[str, float] = field(default_factory=dict)
    _upstreams: dict[str, str] = field(default_factory=dict)
    _failures: list[BaseException] = field(default_factory=list)
    _is_over: bool = False

    # What a test says.

    @asynccontextmanager
    async def raging(self) -> AsyncIterator[Storm]:
        """Sites are made, and authors and visitors come and go until the block ends."""
        async with self._upstream() as port:
            for site in SITES:
                await self._create(site, port)
            tasks = [asyncio.create_task(self._watched(self._author(site))) for site in SITES]
            for node in EDGES:
                tasks += [asyncio.create_task(self._watched(self._visitor(node, site))) for site in SITES]
            tasks.append(asyncio.create_task(self._watched(self._asker())))
            try:
                yield self
            finally:
                self._is_over = True
                await asyncio.gather(*tasks)
            self.check()
            await self._judge_end()

    def check(self) -> None:
        """Raises what an author or a visitor met that may not be."""
        if self._failures:
            raise self._failures[0]

    def give_up(self, control: str) -> None:
        """Whoever waits for this control goes to another: it hangs. What it was asked may come about later."""
        self._failed_at[control] = time.monotonic()
        for call in [call for call, asked in self._calls.items() if asked == control]:
            call.cancel()

    def froze(self, node: str) -> None:
        """The node was stopped; it cannot say when its lease is over."""
        self.lapsed_until[node] = float("inf")

    def went_on(self, node: str) -> None:
        self.lapsed_until[node] = time.monotonic() + UNSAID_S

    async def until_done(self, more: int, within_s: float) -> None:
        """Until every author had so many more changes acknowledged."""
        goal = {name: count + more for name, count in self.done.items()}
        async with asyncio.timeout(within_s):
            while any(self.done[name] < count for name, count in goal.items()):
                self.check()
                await asyncio.sleep(0.02)

    async def until_excused(self, node: str, within_s: float) -> None:
        """Until receipts from now on say of the node that it was excused at one site, and fenced at another."""
        for site in self.sites.values():
            site.outcomes_seen.pop(node, None)
        async with asyncio.timeout(within_s):
            while not {"excused", "fenced"} <= {
                outcome for site in self.sites.values() for outcome in site.outcomes_seen.get(node, ())
            }:
                self.check()
                await asyncio.sleep(0.02)

    async def until_refused(self, node: str, within_s: float) -> None:
        """Until a visitor of the node is refused from now on."""
        self._turned_away.discard(node)
        async with asyncio.timeout(within_s):
            while node not in self._turned_away:
                self.check()
                await asyncio.sleep(0.02)

    async def until_detached(self, node: str, within_s: float) -> None:
        """Until the node tells a visitor from now on that it has no lease."""
        self._said_detached.discard(node)
        async with asyncio.timeout(within_s):
            while node not in self._said_detached:
                self.check()
                await asyncio.sleep(0.02)

    # Authors.

    async def _create(self, site: StormSite, port: int) -> None:
        settings: dict[str, Any] = {"on_detach": "validate"} if site.validates else {}
        if site.is_pull:
            settings |= {"origin": f"http://127.0.0.1:{port}", "upstream_host": f"{site.name}.upstream.example"}
        else:
            settings["prepare_timeout_s"] = 0.5
        await self.fleet.call(self.fleet.controls[0], "POST", "/v1/sites", {"name": site.name, "settings": settings})
        known = self.sites[site.name] = SiteAcknowledged(site.name, site.is_pull)
        self.done[site.name] = self.hits[site.name] = 0
        while not known.last:
            await self._change(site)
        for node in EDGES:
            async with asyncio.timeout(VISIT_TIMEOUT_S):
                while (await self._visit(node, site)) is None:  # it hears of a new site in a moment
                    await asyncio.sleep(0.02)

    async def _author(self, site: StormSite) -> None:
        while not self._is_over:
            await self._change(site)
            await asyncio.sleep(AUTHOR_PAUSE_S * self.rng.uniform(0.2, 1.8))

    async def _change(self, site: StormSite) -> None:
        known = self.sites[site.name]
        number = known.attempt()
        control = self._choose_control()
        try:
            if site.is_pull:
                await self._purge(site, known, number, control)
            else:
                await self._deploy(site, known, number, control)
        except CALL_FAULTS as fault:
            self._failed_at[control] = time.monotonic()
            known.lose(number)
            self.refused.append(f"{site.name} {number} at {control}: {fault!r}")
            await asyncio.sleep(AUTHOR_PAUSE_S)
        else:
            self.done[site.name] += 1

    def _choose_control(self) -> str:
        controls = self.fleet.controls
        good = [each for each in controls if time.monotonic() >= self._failed_at.get(each, 0.0) + AVOIDED_S]
        return self.rng.choice(good or controls)

    async def _call(self, control: str, path: str, content: Any) -> Any:
        """Raises what `Field.call` raises; TimeoutError when the call was given up."""
        call = asyncio.create_task(self.fleet.call(control, "POST", path, content))
        self._calls[call] = control
        try:
            await asyncio.wait({call})
            if call.cancelled():
                raise TimeoutError(f"{control} hangs")
            return call.result()
        finally:
            call.cancel()
            del self._calls[call]

    async def _deploy(self, site: StormSite, known: SiteAcknowledged, number: int, control: str) -> None:
        path = f"/v1/sites/{site.name}/deploys?wait={RECEIPT_WAIT_S}"
        done = await self._call(control, path, packed({"/index.html": page(site.name, number)}))
        known.deploys[done["deploy"]["id"]] = number
        known.acknowledge(number, done["receipt"], time.monotonic())

    async def _purge(self, site: StormSite, known: SiteAcknowledged, number: int, control: str) -> None:
        self._upstreams[site.name] = str(number)
        url = f"http://{site.name}.{ZONE}/"
        what = self.rng.choice(({"everything": True}, {"urls": [url]}, {"prefixes": [url]}, {"tags": [site.name]}))
        path = f"/v1/sites/{site.name}/purges?wait={RECEIPT_WAIT_S}"
        known.acknowledge(number, await self._call(control, path, what), time.monotonic())

    # Visitors.

    async def _visitor(self, node: str, site: StormSite) -> None:
        while not self._is_over:
            await self._visit(node, site)
            await asyncio.sleep(VISITOR_PAUSE_S * self.rng.uniform(0.2, 1.8))

    async def _visit(self, node: str, site: StormSite) -> Shown | None:
        """What was shown, judged; None: the visitor was refused, where that may be."""
        known, began = self.sites[site.name], time.monotonic()
        due, may_be_refused = known.due(node, began), node in self.hurt
        url = self.fleet.roles[node].ready["http_url"]
        try:
            async with asyncio.timeout(VISIT_TIMEOUT_S):
                headers = {"Host": f"{site.name}.{ZONE}"}
                async with self.fleet.client.get(f"{url}/", headers=headers) as response:
                    content, status = await response.read(), response.status
                    cache_status = response.headers.get("Cache-Status", "")
        except (OSError, TimeoutError, aiohttp.ClientError) as fault:
            self._turned_away.add(node)
            if may_be_refused or node in self.hurt:
                return None
            raise Broken(
                f"{site.name}: a visitor of {node} met {fault!r} after {time.monotonic() - began:.2f} s"
            ) from fault
        if status != 200:
            self._turned_away.add(node)
            if may_be_refused or node in self.hurt or not self.done[site.name]:
                return None
            raise Broken(f"{site.name}: a visitor of {node} was answered {status} ({cache_status})")
        shown = Shown(
            node, _number(site.name, content), "detached" in cache_status, f"{cache_status}, began {began:.3f}"
        )
        known.judge(due, shown, may_lapse_unsaid=began < self.lapsed_until.get(node, 0.0))
        self.hits[site.name] += "; hit" in cache_status
        if shown.is_detached:
            self._said_detached.add(node)
        return shown

    async def _asker(self) -> None:
        """Names are answered, whatever becomes of control: those that exist, and those that do not."""
        while not self._is_over:
            for name, is_there in ((f"{SITES[0].name}.{ZONE}", True), (f"nobody.{ZONE}", False)):
                may_be_refused = NAMER in self.hurt
                try:
                    rcode = (await ask(self.fleet.roles[NAMER], name, "A")).rcode()
                except (OSError, DNSException) as fault:
                    if not may_be_refused and NAMER not in self.hurt:
                        raise Broken(f"{name} was asked for, and {fault!r} came") from fault
                else:
                    if (rcode != Rcode.NXDOMAIN) is not is_there:
                        raise Broken(f"{name} was asked for, and {rcode!r} came")
            await asyncio.sleep(ASKER_PAUSE_S)

    @asynccontextmanager
    async def _upstream(self) -> AsyncIterator[int]:
        async def answer(request: web.BaseRequest) -> web.Response:
            site = request.host.partition(".")[0]
            fields = {"Cache-Control": "max-age=3600", "Cache-Tag": site}
            return web.Response(body=page(site, int(self._upstreams[site])), headers=fields)

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    # The end.

    async def _judge_end(self) -> None:
        """Nothing acknowledged is lost."""
        for site in SITES:
            known = self.sites[site.name]
            for node in EDGES:
                async with asyncio.timeout(VISIT_TIMEOUT_S):
                    while (shown := await self._visit(node, site)) is None:
                        await asyncio.sleep(0.05)
                known.judge_settled(shown)
            for control in self.fleet.controls:
                receipt = await self.fleet.call(control, "GET", f"/v1/receipts/{known.sequence}?wait=20")
                outcomes = {line["node"]: line["outcome"] for line in receipt["nodes"]}
                assert outcomes == dict.fromkeys(EDGES, "applied"), (site, control, receipt)
                if not site.is_pull:
                    listed = await self.fleet.call(control, "GET", f"/v1/sites/{site.name}/deploys")
                    lost = {*list(known.deploys)[-LISTED_SURELY:]} - {one["id"] for one in listed["deploys"]}
                    assert not lost, f"{control} has lost the deploys {lost} of {site.name}"
            assert self.hits[site.name], f"nothing of {site.name} was ever answered from a cache"

    async def _watched(self, work: Any) -> None:
        try:
            await work
        except BaseException as failure:
            self._failures.append(failure)
            if isinstance(failure, asyncio.CancelledError):
                raise


def _number(site: str, content: bytes) -> int:
    """The change that the page was made from. Raises Broken for content that no change made."""
    name, _, number = content.partition(b"\n")[0].decode("latin-1").partition(" ")
    if name != site or not number.isdigit() or content != page(site, int(number)):
        raise Broken(f"{site}: content that nobody made: {content[:60]!r}, {len(content)} bytes")
    return int(number)
