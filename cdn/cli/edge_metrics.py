"""An edge in numbers. Everything is of all sites together: what one site does shows in the access log, not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdn.cli.metrics import Family, Kind, counter, gauge, labelled
from cdn.cli.traffic_metrics import traffic_metrics
from cdn.edge.node import EdgeNode

HELP: Mapping[str, str] = {
    "answered": "Requests that took the whole road: neither the head memo nor the memory tier had the answer.",
    "hits": "Requests answered from a tier, the head memo included.",
    "stale_served": "Requests answered with a stale response, where that was allowed.",
    "validated": "Stored responses that were found to be good still.",
    "tls_handshakes": "Handshakes that were completed, those that resumed a session included.",
    "tls_resumed": "Handshakes that resumed a session.",
    "tls_challenges": "Handshakes in which an authority was shown the answer of tls-alpn-01.",
    "tls_certificates_read": "Certificates read from the node's disk for a handshake: they were not among those ready.",
    "tls_missing": "Handshakes that failed because the certificate was not on the node's disk.",
    "tls_unopened": "Certificates for handshakes whose key the node could not open with its own.",
    "certificates": "Certificates that there are.",
    "certificate_soonest_end": "When the first of them is over, in seconds since 1970; 0: there are none.",
    "certificates_fetched": "Certificates fetched from the store, which a snapshot or a handshake named.",
    "certificate_fetches_failed": "Certificates that the store did not give.",
    "misses": "Requests for which something was fetched.",
    "upstream_failed": "Requests that failed because store or upstream did.",
    "site_failed": "Requests refused because the site's manifest could not be had.",
    "prepare_failed": "Manifests of new deploys that could not be loaded at once.",
    "coded_answers": "Requests that took the whole road and were answered with a coded form that control made.",
    "coded_fell_back": "Requests answered uncoded because a coded form could not be had.",
    "variants_loaded": "Lists of coded forms that were loaded.",
    "variants_failed": "Lists of coded forms that could not be had.",
    "fetch_upstream_requests": "Requests for chunks to the store.",
    "fetch_upstream_bytes": "Content that came for them.",
    "fetch_collapsed": "Requests that waited for a fetch of another instead of beginning one.",
    "fetch_damaged": "Chunks that came damaged and were not served.",
    "fetch_detached": "Fetches under which a purge came: whoever waited had them, and nothing was stored.",
    "fetch_not_stored": "Chunks that could not be stored on disk.",
    "arriving_bytes": "Content of upstreams in memory while it arrives.",
    "disk_responses": "Stored responses on disk.",
    "disk_bytes": "Content on disk.",
    "memory_bytes": "Prepared responses in memory.",
    "upstream_fetches": "Fetches from upstreams that are under way.",
    "upstream_connections": "Connections to upstreams that are open.",
    "shield_requests": "Requests that were sent to a shield.",
    "shield_damaged": "Chunks that came damaged from a shield.",
    "shields_suspended": "Shields that are passed by until they answer again.",
    "peer_answered": "Requests of other nodes that were answered, as their shield.",
    "peer_connections": "Connections of other nodes that are open.",
    "load_hundredths": "How busy this process's loop was in the last ten seconds, in hundredths of a core.",
    "worker_load_hundredths": "The same of the busiest worker's loop.",
    "workers": "Workers that take connections.",
    "workers_died": "Workers that ended and were replaced.",
    "workers_hung": "Workers that showed no life and were ended.",
    "worker_memory_bytes": "Prepared responses in the memory of all workers.",
    "worker_recalled": "Requests that workers answered from memory, those of the head memo not among them.",
}
"""What a counter means; the others are named by what they count."""

GAUGES = frozenset(
    {
        "arriving_bytes",
        "certificates",
        "certificate_soonest_end",
        "disk_responses",
        "disk_bytes",
        "memory_bytes",
        "upstream_fetches",
        "upstream_connections",
        "shields_suspended",
        "peer_connections",
        "load_hundredths",
        "worker_load_hundredths",
        "workers",
        "worker_memory_bytes",
    }
)
"""What goes up and down among the things a node counts."""

LABELLED: Mapping[str, tuple[str, str, str]] = {
    "tls_refused_": ("cdn_edge_tls_refused", "reason", "Connections for https that came to nothing, by reason."),
    "not_stored_": ("cdn_edge_not_stored", "reason", "Responses of upstreams that were not stored, by reason."),
    "passwords_": ("cdn_edge_passwords", "outcome", "Passwords that visitors gave, by what came of it."),
    "bypassed_": ("cdn_edge_shield_bypassed", "reason", "Requests that went past a shield, by reason."),
    "peer_refused_": ("cdn_edge_peer_refused", "reason", "Requests of other nodes that were refused, by reason."),
    "upstream_": ("cdn_edge_upstream_faults", "fault", "Failed exchanges with upstreams, by fault."),
}
"""Counters whose names begin so are one metric, with the rest of the name as its label."""


def edge_metrics(node: EdgeNode, *, has_caught_up: bool) -> Sequence[Family]:
    """The node's counters, its listener's, and its place in the journal."""
    position = node.follower.position
    return (
        gauge("cdn_edge_attached", "1 while the node's lease from control runs.", node.follower.has_lease()),
        gauge("cdn_edge_caught_up", "1 once it has applied what the journal held.", has_caught_up),
        gauge("cdn_edge_stopped", "1 when it met a record it does not understand.", node.follower.stopped is not None),
        gauge("cdn_edge_applied_sequence", "Where it stands.", 0 if position is None else position.sequence),
        *_listener(node),
        *traffic_metrics(node.traffic()),
        *_counted(node.counted()),
    )


def _listener(node: EdgeNode) -> Sequence[Family]:
    counters = node.front.counters
    return (
        gauge("cdn_edge_open_connections", "Connections of visitors that are open.", node.front.open_connections),
        counter("cdn_edge_connections", "Connections accepted.", counters.connections),
        counter("cdn_edge_memo_hits", "Requests answered from the head memo.", counters.memo_hits),
        counter("cdn_edge_recalled", "Requests answered from memory without the whole road.", counters.recalled),
        counter("cdn_edge_timed_out", "Connections, and streams of HTTP/2, ended by a timeout.", counters.timed_out),
        counter("cdn_edge_h2_connections", "Connections on which HTTP/2 is spoken.", counters.h2_connections),
        counter("cdn_edge_h2_streams", "Requests that came by HTTP/2.", counters.h2_streams),
        counter("cdn_edge_h2_resets", "Those that were reset before their whole answer.", counters.h2_resets),
        labelled("cdn_edge_refused", Kind.COUNTER, "Refusals, by reason.", "reason", dict(counters.refused)),
    )


def _counted(counted: Mapping[str, int]) -> Sequence[Family]:
    families: list[Family] = []
    labels: dict[str, dict[str, float]] = {prefix: {} for prefix in LABELLED}
    for name, value in counted.items():
        prefix = next((each for each in LABELLED if name.startswith(each)), None)
        if name in HELP:
            make = gauge if name in GAUGES else counter
            families.append(make(f"cdn_edge_{name}", HELP[name], value))
        elif prefix is not None:
            labels[prefix][name.removeprefix(prefix)] = value
        else:
            families.append(counter(f"cdn_edge_{name}", f"Counted by the node as {name}.", value))
    for prefix, (name, label, help_) in LABELLED.items():
        families.append(labelled(name, Kind.COUNTER, help_, label, labels[prefix]))
    return families
