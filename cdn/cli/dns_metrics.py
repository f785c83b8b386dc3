"""A DNS process in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.cli.metrics import Family, Kind, counter, gauge, labelled
from cdn.dns.answer import Transport
from cdn.dns.code import Rcode
from cdn.dns.node import DnsNode


def dns_metrics(node: DnsNode, *, has_caught_up: bool) -> Sequence[Family]:
    """What was asked and answered, where it stands, and each node's share: the fleet bounds how many lines that is."""
    answered, tcp, position = node.answerer.counters, node.connections.counters, node.follower.position
    queries = {each.value: float(answered.queries[each]) for each in Transport}
    rcodes = {each.name.lower(): float(answered.rcodes[each]) for each in Rcode}
    shares = {each.node.member.node_id: each.share.fraction for each in node.fleet.shares()}
    return (
        labelled("cdn_dns_queries", Kind.COUNTER, "Messages received, by transport.", "transport", queries),
        labelled("cdn_dns_answers", Kind.COUNTER, "Answers, by response code.", "rcode", rcodes),
        counter("cdn_dns_silent", "Messages that got no answer: too short, or responses.", answered.silent),
        counter("cdn_dns_truncated", "Answers too long for UDP: the client asks by TCP.", answered.truncated),
        counter("cdn_dns_send_failed", "Answers that the system did not take.", node.send_failed),
        gauge("cdn_dns_tcp_open_connections", "TCP connections that are open.", len(node.connections)),
        counter("cdn_dns_tcp_connections", "TCP connections accepted.", tcp.connections),
        counter("cdn_dns_tcp_timed_out", "TCP connections ended by a timeout.", tcp.timed_out),
        counter("cdn_dns_tcp_bad_lengths", "TCP connections ended for a length that no question has.", tcp.bad_lengths),
        counter("cdn_dns_tcp_crowded_out", "TCP connections closed to make room.", tcp.crowded_out),
        gauge("cdn_dns_caught_up", "1 once it knows journal and fleet as they were at its start.", has_caught_up),
        gauge("cdn_dns_stopped", "1 when it met a record it does not understand.", node.follower.stopped is not None),
        gauge("cdn_dns_applied_sequence", "Where it stands.", 0 if position is None else position.sequence),
        gauge(
            "cdn_dns_fleet_frozen",
            "1 while lag stands still, as control is not heard.",
            node.fleet.is_frozen,
        ),
        gauge("cdn_dns_addresses_down", "Addresses of nodes that do not answer the checks.", len(node.checks.down)),
        counter("cdn_dns_checks_good", "Checks of addresses that succeeded.", node.checks.counters["good"]),
        counter("cdn_dns_checks_bad", "Checks of addresses that failed.", node.checks.counters["bad"]),
        labelled("cdn_dns_node_share", Kind.GAUGE, "The part of a node's weight in answers, 0 to 1.", "node", shares),
    )
