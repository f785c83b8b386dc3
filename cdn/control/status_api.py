"""Routes about the fleet: status, explanations, health."""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web

from cdn import __version__
from cdn.control.content import json_response
from cdn.control.route import Call
from cdn.control.schema import ArchiveView, Explanation, Health, NodeExplanation, NodeForgotten, NodeStatus, Status
from cdn.control.services import Services
from cdn.control.token import Verb
from cdn.control.views import position_view
from cdn.errors import CdnError, Forbidden, InvalidInput, NotFound
from cdn.fleet.node import NodeView
from cdn.http.target import AbsoluteTarget, Target, TargetFault, parse_host, parse_target

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
        services = self._services
        nodes = tuple(self._node(node, with_counters=call.caller.is_admin) for node in services.directory.nodes())
        sites = sum(call.caller.may(Verb.READ, site.name) for site in services.catalog.sites())
        position = position_view(services.state.position)
        if not call.caller.is_admin:
            return json_response(Status(__version__, position, sites, nodes, {}))
        counters = {**services.hub.counters, **services.repair.counters, **services.archive.counters}
        lag = services.archive.lag
        archive = ArchiveView(lag.archived, lag.records, round(lag.seconds, 3), lag.fault)
        return json_response(Status(__version__, position, sites, nodes, counters, archive))

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
            result = await self._services.hub.explain(node_id, host, target, timeout_s)
        except CdnError as error:
            return NodeExplanation(node_id, failure=error.message)
        return NodeExplanation(node_id, result=result)

    def _node(self, node: NodeView, *, with_counters: bool) -> NodeStatus:
        services = self._services
        end = services.state.position
        condition = services.directory.condition(node.node_id)
        is_same_epoch = node.position is not None and node.position.epoch == end.epoch
        return NodeStatus(
            node=node.node_id,
            program=node.facts.program,
            connected=node.is_connected,
            state=condition.state.value,
            reason=condition.reason.value,
            state_since=self._wall(condition.since),
            position=None if node.position is None else position_view(node.position),
            lag=max(0, end.sequence - node.position.sequence) if node.position and is_same_epoch else None,
            lag_s=round(services.directory.lag_s(node.node_id), 3),
            answered_at=None if node.answered_at is None else self._wall(node.answered_at),
            stopped=node.stopped,
            facts=msgspec.to_builtins(node.facts),
            counters=dict(services.directory.counters(node.node_id)) if with_counters else {},
        )

    def _wall(self, monotonic_s: float) -> float:
        """A monotonic time as wall time."""
        return self._services.clock() - (self._services.monotonic() - monotonic_s)


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
