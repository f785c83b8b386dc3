"""Control in numbers: the journal, the nodes, and what the hub refused (docs/metrics.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cdn.cli.metrics import Family, Kind, counter, gauge, labelled
from cdn.control.domain_schema import CertificateState
from cdn.control.domain_views import certificate_state
from cdn.control.fleet_watch import ShownNode
from cdn.control.plane import ControlPlane
from cdn.fleet.condition import NodeState
from cdn.fleet.node import NodeView

MAX_NODE_SERIES = 1_000
"""Nodes with lines of their own: some ten each. In a larger fleet only those have them that do not simply serve."""

WAITING_DEPLOYS = "Deploys whose files wait to be looked at for coding, or are coded now."

SOONEST_END = "When the certificate that ends first is over, in seconds since 1970; 0: there is none."

HELP: Mapping[str, str] = {
    "snapshots_sent": "Snapshots sent to nodes whose place in the journal is no longer kept.",
    "blob_faults_told": "Times a node said that the store's copy of a blob is damaged or gone.",
    "blob_faults_dropped": "Those that were not looked into: too many wait, or the blob was found sound just now.",
    "blobs_sound": "Blobs that were looked into and found sound.",
    "blobs_damaged": "Blobs that were found damaged: the next deploy uploads them again.",
    "blobs_missing": "Blobs that the store does not have: the next deploy uploads them again.",
    "blobs_changed": "Blobs that another object had taken the place of by then.",
    "blobs_unchecked": "Blobs that could not be looked into, as the store did not answer.",
    "archived_parts": "Objects with archived records that were written.",
    "archived_records": "Records in them.",
    "archive_failures": "Attempts to archive that failed; each is made again.",
}
"""What a counter means; others are named by what they count."""

HELP_OF_CODING: Mapping[str, str] = {
    "precompression_sources": "Contents that were looked at by a coding process.",
    "precompression_not_worth": "Of these, those that no content coding makes small enough.",
    "precompression_ready_used": "Coded forms that came with a deploy, were checked and are used.",
    "precompression_ready_refused": "Coded forms that came with a deploy and are not their source.",
    "precompression_reused": "Contents whose coded forms an earlier deploy of the site had already.",
    "precompression_source_bytes": "Size of the contents that were looked at.",
    "precompression_coded_bytes": "Size of all coded forms that were made.",
    "precompression_failed": "Contents that could not be coded at that time.",
    "precompression_announced": "Lists of coded forms that were recorded.",
    "precompression_lost": "Coded forms that the store had lost or damaged, to be made anew.",
    "precompression_processes_died": "Coding processes that ended, or were ended, in the middle of a job.",
}
"""The same, where files are coded."""

HELP_OF_DOMAINS: Mapping[str, str] = {
    "certificate_orders": "Certificates that an authority was asked for.",
    "certificate_orders_failed": "Of these, those that it did not sign.",
    "certificate_orders_put_off": "Orders that waited, as the account had made as many as it may in an hour.",
    "certificates_issued": "Certificates that were signed and recorded.",
    "certificates_resealed": "Certificates that were sealed anew, for other nodes or with another key.",
    "domain_looks": "Looks at domains in DNS.",
}
"""The same, where domains are looked after."""

HELP_OF_HOOKS: Mapping[str, str] = {
    "hook_messages": "Messages to hooks whose signature was right.",
    "hook_messages_refused": "Messages to hooks that were refused: wrong or no signature, too large, no JSON.",
    "hook_messages_repeated": "Messages to hooks that had come before.",
    "hook_actions": "Purges and activations that messages made happen.",
    "hook_actions_failed": "Those that failed.",
    "webhooks": "Messages of ours that were to be sent.",
    "webhook_attempts": "Tries to send them.",
    "webhooks_delivered": "Those that their receiver took.",
    "webhooks_dead": "Those that were given up.",
    "webhook_records_lost": "Records that were no longer kept before anybody was told of them.",
}
"""The same, of hooks."""


def control_metrics(plane: ControlPlane) -> Sequence[Family]:
    """Everything is of all sites together: what one site does is in the audit, not here."""
    services = plane.services
    counted = {**services.hub.counters, **services.repair.counters, **services.archive.counters}
    counted |= {**dict.fromkeys(HELP_OF_HOOKS, 0), **services.hook_room.counters}
    if plane.domains is not None:
        counted |= plane.domains.counters
    coding = services.precompression
    counted |= dict.fromkeys(HELP_OF_CODING, 0) if coding is None else coding.counters
    meanings = {**HELP, **HELP_OF_DOMAINS, **HELP_OF_HOOKS, **HELP_OF_CODING}
    lag = services.archive.lag
    refusals = {reason: float(count) for reason, count in services.hub.refusals.counts().items()}
    return (
        gauge("cdn_control_sequence", "The last record that control has applied.", services.state.position.sequence),
        gauge("cdn_control_archived_sequence", "Up to here the object store has every record.", lag.archived),
        gauge("cdn_control_archive_lag_seconds", "How long the oldest record waits to be archived.", lag.seconds),
        gauge("cdn_control_archives", "1 where this replica is the one that archives.", services.archive.is_ours),
        gauge("cdn_control_sites", "Sites that exist.", len(services.catalog.sites())),
        gauge("cdn_control_tokens", "Tokens that are recorded.", len(services.tokens)),
        gauge("cdn_control_connections", "Nodes that follow this replica.", plane.hub.connections),
        gauge(
            "cdn_control_webhooks_due", "Messages of ours that wait to be sent by this replica.", plane.webhooks.waiting
        ),
        gauge("cdn_control_waiting", "Callers that wait for receipts and preparations.", services.directory.waiting),
        gauge("cdn_control_precompression_waiting", WAITING_DEPLOYS, 0 if coding is None else coding.waiting),
        *_fleet(plane),
        *_certificates(plane),
        labelled("cdn_control_refusals", Kind.COUNTER, "What was refused, by reason.", "reason", refusals),
        *(
            counter(f"cdn_control_{name}", meanings.get(name, f"Counted by control as {name}."), value)
            for name, value in counted.items()
        ),
    )


def _certificates(plane: ControlPlane) -> Sequence[Family]:
    services = plane.services
    held, now = services.certificates.certificates(), services.clock()
    states = Counter(certificate_state(facts, now).value for facts in held)
    soonest_end = min((facts.not_after for facts in held), default=0.0)
    return (
        labelled(
            "cdn_control_certificates",
            Kind.GAUGE,
            "Certificates in each state.",
            "state",
            {state.value: float(states[state.value]) for state in CertificateState},
        ),
        gauge("cdn_control_certificate_soonest_end_seconds", SOONEST_END, soonest_end),
        gauge("cdn_control_domains", "Domains that sites answer.", len(services.catalog.domains())),
        gauge("cdn_control_claims", "Domains that wait to be verified.", len(services.claims)),
    )


def _fleet(plane: ControlPlane) -> Sequence[Family]:
    services = plane.services
    directory, seen = services.directory, services.fleet.look()
    nodes, end = directory.nodes(), services.state.position
    states = Counter(directory.condition(node.node_id).state for node in nodes)
    shown = {each.node_id: each for each in seen.nodes}
    named = [node for node in nodes if len(nodes) <= MAX_NODE_SERIES or _is_unusual(plane, node)][:MAX_NODE_SERIES]
    clocks = {node.node_id: directory.clock_offset_s(node.node_id) for node in named}
    return (
        gauge("cdn_control_nodes", "Nodes that are known.", len(nodes)),
        gauge("cdn_control_dns_followers", "Name servers that follow this control.", len(services.hub.dns.all())),
        labelled(
            "cdn_control_node_states",
            Kind.GAUGE,
            "Nodes in each state.",
            "state",
            {state.value: float(states[state]) for state in NodeState},
        ),
        gauge(
            "cdn_control_fleet_frozen",
            "1 while other replicas are not heard, so that lag stands still.",
            seen.view.is_frozen,
        ),
        _of_nodes("connected", "1 while the node follows.", {each.node_id: each.is_connected for each in named}),
        _of_nodes(
            "stopped", "1 when it met an unknown record.", {each.node_id: each.stopped is not None for each in named}
        ),
        _of_nodes(
            "sequence",
            "Where the node stands, as acknowledged.",
            {
                each.node_id: each.position.sequence
                for each in named
                if each.position is not None and each.position.epoch == end.epoch
            },
        ),
        _of_nodes(
            "lag_seconds",
            "How long it has been behind.",
            {each.node_id: directory.lag_s(each.node_id) for each in named},
        ),
        _of_nodes(
            "clock_offset_seconds",
            "How far its clock is ahead of control's.",
            {node_id: offset_s for node_id, offset_s in clocks.items() if offset_s is not None},
        ),
        _of_nodes("weight", "The weight it was given.", {each.node_id: each.facts.weight for each in named}),
        _of_nodes("dns_share", "The part of its weight that stands in DNS, 0 to 1.", _shares(named, shown)),
    )


def _is_unusual(plane: ControlPlane, node: NodeView) -> bool:
    directory = plane.services.directory
    return directory.condition(node.node_id).state is not NodeState.SERVING or directory.lag_s(node.node_id) > 0


def _shares(named: Sequence[NodeView], shown: Mapping[str, ShownNode]) -> Mapping[str, float]:
    return {node.node_id: shown[node.node_id].share.fraction for node in named if node.node_id in shown}


def _of_nodes(name: str, help_: str, values: Mapping[str, float]) -> Family:
    of_each = {node_id: float(value) for node_id, value in values.items()}
    return labelled(f"cdn_control_node_{name}", Kind.GAUGE, help_, "node", of_each)
