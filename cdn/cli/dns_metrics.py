"""A DNS process in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.cli.metrics import Family, Kind, counter, gauge, labelled
from cdn.dns.answering_pool import OPEN_NOW
from cdn.dns.code import Rcode
from cdn.dns.node import DnsNode
from cdn.dns.transport import Transport

_COUNTERS = (
    ("silent", "Messages that got no answer: too short, or responses."),
    ("truncated", "Answers too long for UDP: the client asks by TCP."),
    ("limited", "Answers above the limit of their client's network."),
    ("slipped", "Of these, those that were sent all the same, truncated."),
    ("bad_cookies", "Questions with a cookie that is not valid."),
    ("send_failed", "Answers that the system did not take."),
    ("tcp.connections", "TCP connections accepted."),
    ("tcp.timed_out", "TCP connections ended by a timeout."),
    ("tcp.bad_lengths", "TCP connections ended for a length that no question has."),
    ("tcp.crowded_out", "TCP connections closed to make room."),
)


def dns_metrics(node: DnsNode, *, has_caught_up: bool) -> Sequence[Family]:
    """What was asked and answered by all its processes, where it stands, and each node's share: the fleet bounds how
    many lines that is."""
    counted, position, pool = node.counted(), node.follower.position, node.pool
    queries = {each.value: counted.get(f"queries.{each.value}", 0.0) for each in Transport}
    rcodes = {each.name.lower(): counted.get(f"rcodes.{each.name.lower()}", 0.0) for each in Rcode}
    shares = {each.node.member.node_id: each.share.fraction for each in node.fleet.shares()}
    of_processes = (
        gauge("cdn_dns_processes", "Processes that answer.", 1 if pool is None else pool.answering),
        counter("cdn_dns_processes_died", "Answering processes that were replaced.", pool.died if pool else 0),
        counter("cdn_dns_processes_hung", "Answering processes killed for no sign of life.", pool.hung if pool else 0),
    )
    return (
        *of_processes,
        labelled("cdn_dns_queries", Kind.COUNTER, "Messages received, by transport.", "transport", queries),
        labelled("cdn_dns_answers", Kind.COUNTER, "Answers, by response code.", "rcode", rcodes),
        *(counter(f"cdn_dns_{name.replace('.', '_')}", text, counted.get(name, 0.0)) for name, text in _COUNTERS),
        gauge("cdn_dns_tcp_open_connections", "TCP connections that are open.", counted.get(OPEN_NOW, 0.0)),
        gauge("cdn_dns_zone_faults", "Zones that are not as the journal has them.", len(node.answering.faults)),
        gauge("cdn_dns_geography_fault", "1 while the wanted table of places is not used.", bool(node.geography.fault)),
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
