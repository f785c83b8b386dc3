"""Fleets for tests."""

from __future__ import annotations

from ipaddress import ip_address

from cdn.dns.choice import Choice, Family
from cdn.dns.client import client_at
from cdn.dns.fleet_nodes import FleetNode, SeenFleet
from cdn.fleet.condition import NodeState
from cdn.fleet.withdrawal import Member
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site


def node(
    number: int,
    *,
    region: str = "",
    weight: float = 100.0,
    state: NodeState = NodeState.SERVING,
    lag_s: float = 0.0,
    addresses: tuple[str, ...] | None = None,
) -> FleetNode:
    """Node `nX` at 192.0.2.X."""
    texts = (f"192.0.2.{number}",) if addresses is None else addresses
    member = Member(f"n{number}", region, weight if texts else 0.0, state, lag_s)
    return FleetNode(member, texts, tuple(ip_address(text).packed for text in texts))


def seen(*nodes: FleetNode, is_frozen: bool = False) -> SeenFleet:
    return SeenFleet(1, is_frozen, nodes)


def site(*regions: str) -> Site:
    return Site("s1", "blog", 0.0, SiteSettings(region=regions))


def texts(packed: tuple[bytes, ...] | None) -> set[str] | None:
    return None if packed is None else {str(ip_address(each)) for each in packed}


def asked(choice: Choice, site: Site, family: Family, source: str) -> tuple[bytes, ...] | None:
    """The addresses that the resolver at `source` hears."""
    chosen = choice.addresses(site, family, client_at(source))
    return None if chosen is None else chosen.packed
