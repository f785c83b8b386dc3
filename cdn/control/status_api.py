"""Routes about the fleet: status, explanations, health."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_network

import msgspec
from aiohttp import web

from cdn import __version__
from cdn.control.content import json_response
from cdn.control.dns_followers import DnsFollower
from cdn.control.fleet_watch import ShownNode
from cdn.control.route import Call, page_limit
from cdn.control.schema import (
    ArchiveView,
    CertificateAlarm,
    CertificatesStatus,
    DetachCounts,
    DnsStatus,
    Explanation,
    FleetNodeView,
    FleetView,
    Health,
    NameExplanation,
    NodeExplanation,
    NodeForgotten,
    NodeStatus,
    RefusalView,
    Status,
)
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.control.views import position_view
from cdn.errors import CdnError, Forbidden, InvalidInput, NotFound
from cdn.fleet.lease import surely_over_at
from cdn.fleet.node import NodeView
from cdn.fleet.withdrawal import ShareReason
from cdn.http.target import AbsoluteTarget, Target, TargetFault, parse_host, parse_target

MAX_ALARMS = 20
"""Certificates named in a status; all of them are in listCertificates."""

_SCHEME = re.compile("https?://", re.IGNORECASE)


class StatusApi:
    """How the fleet is, and why it answers as it does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def health(self, call: Call) -> web.Response:
        """Answers while the loop runs; says nothing of the parts behind it."""
        return json_response(Health("ok"))

    async def status(self, call: Call) -> web.Response:
        """How every node is. What it and they counted is of all sites together, so only the admin sees it (I7)."""
        services, is_admin = self._services, call.caller.is_admin
        limit, after = page_limit(call.query), call.query.get("after", "")
        asked = services.directory.page(after, limit) if is_admin else ()
        counters = await services.colleagues.counters(node.node_id for node in asked)
        everyone, page = services.directory.nodes(), services.directory.page(after, limit)
        shown = {each.node_id: each for each in services.fleet.look().nodes}
        sites = [site for site in services.catalog.sites() if call.caller.may(Verb.READ, site.name)]
        validating = sum(site.settings.validates_on_detach for site in sites)
        status = Status(
            program=__version__,
            position=position_view(services.state.position),
            sites=len(sites),
            nodes=tuple(self._node(node, shown.get(node.node_id), counters.get(node.node_id, {})) for node in page),
            counters={},
            node_count=len(everyone),
            more_after=page[-1].node_id if page and page[-1].node_id != everyone[-1].node_id else None,
            states=self._states(everyone),
            on_detach=DetachCounts(len(sites) - validating, validating),
            dns=tuple(map(self._name_server, services.hub.dns.all())),
            certificates=self._certificates({site.id for site in sites} | ({""} if is_admin else set())),
        )
        return json_response(self._with_what_admins_see(status) if is_admin else status)

    def _certificates(self, site_ids: Collection[str]) -> CertificatesStatus:
        """Those of these sites, and which of them somebody has to look after now."""
        services, now = self._services, self._services.clock()
        found = [facts for facts in services.certificates.certificates() if facts.site_id in site_ids]
        ending = sorted((facts for facts in found if facts.alarm_at <= now), key=lambda facts: facts.not_after)
        alarms = []
        for facts in ending[:MAX_ALARMS]:
            site = services.catalog.site(facts.site_id)
            name = None if site is None else site.name
            alarms.append(CertificateAlarm(facts.name, name, facts.issuer, facts.not_after))
        soonest = min((facts.not_after for facts in found), default=None)
        return CertificatesStatus(len(found), len(ending), tuple(alarms), soonest)

    def _name_server(self, follower: DnsFollower) -> DnsStatus:
        position, end = follower.position, self._services.state.position
        is_same_epoch = position is not None and position.epoch == end.epoch
        return DnsStatus(
            name=follower.dns_id,
            program=follower.program,
            position=None if position is None else position_view(position),
            lag=max(0, end.sequence - position.sequence) if position is not None and is_same_epoch else None,
            stopped=follower.stopped,
        )

    def _states(self, nodes: Iterable[NodeView]) -> dict[str, int]:
        """How many nodes there are in each state that occurs."""
        return dict(Counter(self._services.directory.condition(node.node_id).state.value for node in nodes))

    def _with_what_admins_see(self, status: Status) -> Status:
        services = self._services
        lag, refusals = services.archive.lag, services.hub.refusals
        return msgspec.structs.replace(
            status,
            counters={**services.hub.counters, **services.repair.counters, **services.archive.counters},
            archive=ArchiveView(lag.archived, lag.records, round(lag.seconds, 3), lag.fault),
            refusals=dict(refusals.counts()),
            refused=tuple(
                RefusalView(each.reason.value, each.node_id, each.peer, each.sentence, each.at)
                for each in refusals.last()
            ),
        )

    async def fleet(self, call: Call) -> web.Response:
        """The view that DNS goes by; with `beyond` and `wait` the next one."""
        watch = self._services.fleet
        wait_s = self._services.wait_s(call)
        beyond = call.query.get("beyond", "0")
        if not beyond.isascii() or not beyond.isdigit() or len(beyond) > 18:
            raise InvalidInput(f"beyond is the number of a view, not {beyond[:80]!r}.", field="beyond")
        shown = watch.look()
        if wait_s and shown.number <= int(beyond):
            shown = await watch.wait_beyond(int(beyond), wait_s)
        nodes = tuple(
            FleetNodeView(
                node=each.node_id,
                region=each.member.region,
                addresses=each.facts.public_addresses,
                weight=each.facts.weight,
                state=each.member.state.value,
                reason=each.condition.reason.value,
                lag_s=each.member.lag_s,
                share=round(each.share.fraction, 4),
                share_reason=each.share.reason.value,
                region_part=round(each.part, 4),
                location=each.facts.location,
                bias=each.facts.bias,
                load=each.load,
            )
            for each in shown.nodes
        )
        seen_at = self._services.wall_of(shown.view.seen_at)
        return json_response(FleetView(shown.number, seen_at, shown.view.is_frozen, nodes))

    async def forget_node(self, call: Call) -> web.Response:
        """A node that will not come back leaves status and receipts; one that may still serve stays (409)."""
        node_id = call.path["node_id"]
        await self._services.directory.forget(node_id)
        return json_response(NodeForgotten(node_id))

    async def explain(self, call: Call) -> web.Response:
        services = self._services
        url = call.query["url"]
        host, target = _split(url)
        binding = services.catalog.bind(host)
        site = None if binding is None else services.catalog.site(binding.site_id)
        if not call.caller.is_admin and (site is None or not call.caller.may(Verb.READ, site.name)):
            raise Forbidden(f"This token does not have the scope read for the site of {host}.")
        nodes = await asyncio.gather(*(self._ask(node, host, target) for node in self._asked(call.query.get("node"))))
        alias = None if binding is None else binding.alias
        state = None if binding is None else services.catalog.alias(binding.site_id, binding.alias)
        active = None if state is None or state.active is None else state.active.id
        return json_response(
            Explanation(
                url=url,
                host=host,
                target=target,
                site=None if site is None else site.name,
                alias=alias,
                deploy=active,
                origin=None if site is None else str(site.settings.origin),
                position=position_view(services.state.position),
                nodes=tuple(nodes),
            )
        )

    async def explain_name(self, call: Call) -> web.Response:
        """What the name servers say that follow this replica of control: there is no need to ask each of many."""
        services, name, source = self._services, call.query["name"], call.query["from"]
        try:
            ip_network(source)
        except ValueError:
            raise InvalidInput(
                f"{source[:80]!r} is neither an IP address nor a network: give one like 203.0.113.7 or 203.0.113.0/24.",
                field="from",
            ) from None
        host = parse_host(name.rstrip("."))
        if host is None:
            raise InvalidInput(f"{name[:255]!r} is not a name.", field="name")
        binding = services.catalog.bind(host.name)
        site = None if binding is None else services.catalog.site(binding.site_id)
        if not call.caller.is_admin and (site is None or not call.caller.may(Verb.READ, site.name)):
            raise Forbidden(f"This token does not have the scope read for the site of {host.name}.")
        following = [follower.dns_id for follower in services.hub.dns.all()]
        wanted = call.query.get("server")
        if wanted is not None and wanted not in following:
            raise NotFound(f"No name server {wanted!r} follows this control.")
        asked = following[: services.settings.max_explaining_nodes] if wanted is None else [wanted]
        servers = await asyncio.gather(*(self._ask_server(dns_id, host.name, source) for dns_id in asked))
        return json_response(
            NameExplanation(
                host.name,
                source,
                None if site is None else site.name,
                position_view(services.state.position),
                (*servers,),
            )
        )

    async def _ask_server(self, dns_id: str, name: str, source: str) -> NodeExplanation:
        timeout_s = self._services.settings.explain_timeout_s
        try:
            result = await self._services.hub.explain_name(dns_id, name, source, timeout_s)
        except CdnError as error:
            return NodeExplanation(dns_id, failure=error.message)
        return NodeExplanation(dns_id, result=result)

    def _asked(self, node_id: str | None) -> list[str]:
        nodes = {node.node_id: node for node in self._services.directory.nodes()}
        if node_id is not None:
            if node_id not in nodes:
                raise NotFound(f"There is no node {node_id!r}.")
            return [node_id]
        connected = [each for each, node in nodes.items() if node.is_connected]
        return connected[: self._services.settings.max_explaining_nodes]

    async def _ask(self, node_id: str, host: str, target: str) -> NodeExplanation:
        timeout_s = self._services.settings.explain_timeout_s
        try:
            result = await self._services.colleagues.explain(node_id, host, target, timeout_s)
        except CdnError as error:
            return NodeExplanation(node_id, failure=error.message)
        return NodeExplanation(node_id, result=dict(result))

    def _node(self, node: NodeView, shown: ShownNode | None, counters: Mapping[str, int]) -> NodeStatus:
        services = self._services
        end = services.state.position
        directory, wall_of = services.directory, services.wall_of
        condition = directory.condition(node.node_id)
        is_same_epoch = node.position is not None and node.position.epoch == end.epoch
        over_at = surely_over_at(node.answered_at, node.lease_s)
        offset_s = directory.clock_offset_s(node.node_id)
        return NodeStatus(
            node=node.node_id,
            program=node.facts.program,
            connected=node.is_connected,
            state=condition.state.value,
            reason=condition.reason.value,
            state_since=wall_of(condition.since),
            position=None if node.position is None else position_view(node.position),
            lag=max(0, end.sequence - node.position.sequence) if node.position and is_same_epoch else None,
            lag_s=round(directory.lag_s(node.node_id), 3),
            answered_at=None if node.answered_at is None else wall_of(node.answered_at),
            stopped=node.stopped,
            facts=msgspec.to_builtins(node.facts),
            counters=dict(counters),
            lease_left_s=None if over_at is None else max(0.0, round(over_at - services.monotonic(), 3)),
            clock_offset_s=None if offset_s is None else round(offset_s, 3),
            share=0.0 if shown is None else round(shown.share.fraction, 4),
            share_reason=ShareReason.OUT.value if shown is None else shown.share.reason.value,
            region_part=0.0 if shown is None else round(shown.part, 4),
            load=directory.load(node.node_id),
        )


def _split(url: str) -> tuple[str, str]:
    """Host and target of a URL. Raises InvalidInput."""
    if _SCHEME.match(url) is None:
        url = f"http://{url}"
    parsed = parse_target(url.encode("utf-8", "surrogatepass"))
    match parsed:
        case AbsoluteTarget(host=raw_host, target=Target() as target):
            host = parse_host(raw_host)
            if host is not None:
                return host.name, target.path if target.query is None else f"{target.path}?{target.query}"
        case TargetFault():
            raise InvalidInput(f"{url!r} cannot be requested: {parsed.value}", field="url")
    raise InvalidInput(f"{url!r} is not a URL.", field="url")
