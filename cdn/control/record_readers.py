"""Who has to understand a record before it is written: nodes, DNS processes, replicas of control (DESIGN I14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cdn.control.dns_followers import DnsFollowers
from cdn.control.node_directory import NodeDirectory
from cdn.errors import Conflict
from cdn.fleet.condition import NodeState

MAX_NAMED = 5
"""Readers named in one sentence."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who understands records up to `version`. `way_out` is what can be done when that is not enough."""

    name: str
    program: str
    version: int
    way_out: str


class ReplicaRoll(Protocol):
    """The other replicas of control that run now."""

    async def others(self) -> Iterable[Reader]:
        """Raises Unavailable."""
        ...


class RecordReaders:
    """Everyone who reads the journal, and is not gone."""

    def __init__(self, directory: NodeDirectory, dns: DnsFollowers, replicas: ReplicaRoll | None) -> None:
        self._directory = directory
        self._dns = dns
        self._replicas = replicas

    async def require(self, version: int) -> None:
        """See `Readers.require`."""
        await self._directory.settle()
        readers = [*self._nodes(), *self._dns_processes()]
        if self._replicas is not None:
            readers += await self._replicas.others()
        behind = [reader for reader in readers if reader.version < version]
        if not behind:
            return
        named = ", ".join(
            f"{each.name} (program {each.program or 'unknown'}, up to {each.version})" for each in behind[:MAX_NAMED]
        )
        more = f" and {len(behind) - MAX_NAMED} more" if len(behind) > MAX_NAMED else ""
        ways_out = " or ".join(dict.fromkeys(each.way_out for each in behind))
        raise Conflict(
            f"This needs records of version {version}, which not everyone who follows the journal understands: "
            f"{named}{more}. {ways_out[:1].upper()}{ways_out[1:]}."
        )

    def _nodes(self) -> Iterable[Reader]:
        for node in self._directory.nodes():
            if self._directory.condition(node.node_id).state is not NodeState.GONE:
                way_out = "upgrade the node, or forget one that will not come back (cdn node rm NODE)"
                yield Reader(f"node {node.node_id}", node.facts.program, node.record_version, way_out)

    def _dns_processes(self) -> Iterable[Reader]:
        for follower in self._dns.all():
            yield Reader(f"dns {follower.dns_id}", follower.program, follower.record_version, "upgrade the DNS process")
