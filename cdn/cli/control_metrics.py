"""Control in numbers: the journal, the nodes, and what the hub refused."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.cli.metrics import Family, Kind, counter, gauge, labelled
from cdn.control.plane import ControlPlane


def control_metrics(plane: ControlPlane) -> Sequence[Family]:
    """A line per node at the most: the directory bounds how many there are."""
    services = plane.services
    nodes = services.directory.nodes()
    end = services.state.position
    applied = {
        node.node_id: float(node.position.sequence)
        for node in nodes
        if node.position is not None and node.position.epoch == end.epoch
    }
    connected = {node.node_id: float(node.is_connected) for node in nodes}
    stopped = {node.node_id: float(node.stopped is not None) for node in nodes}
    counted = {**services.hub.counters, **services.repair.counters, **services.archive.counters}
    lag = services.archive.lag
    refusals = {reason: float(count) for reason, count in services.hub.refusals.counts().items()}
    return (
        gauge("cdn_control_sequence", "The last record that control has applied.", end.sequence),
        gauge("cdn_control_archived_sequence", "Up to here the object store has every record.", lag.archived),
        gauge("cdn_control_archive_lag_seconds", "How long the oldest record waits to be archived.", lag.seconds),
        gauge("cdn_control_archives", "1 where this replica is the one that archives.", services.archive.is_ours),
        gauge("cdn_control_sites", "Sites that exist.", len(services.catalog.sites())),
        gauge("cdn_control_tokens", "Tokens that are recorded.", len(services.tokens)),
        gauge("cdn_control_connections", "Nodes that follow this replica.", plane.hub.connections),
        gauge("cdn_control_nodes", "Nodes that are known.", len(nodes)),
        labelled("cdn_control_node_connected", Kind.GAUGE, "1 while the node follows.", "node", connected),
        labelled("cdn_control_node_sequence", Kind.GAUGE, "Where the node stands, as acknowledged.", "node", applied),
        labelled("cdn_control_node_stopped", Kind.GAUGE, "1 when it met an unknown record.", "node", stopped),
        labelled("cdn_control_refusals", Kind.COUNTER, "What was refused, by reason.", "reason", refusals),
        *(counter(f"cdn_control_{name}", f"Counted by control as {name}.", value) for name, value in counted.items()),
    )
