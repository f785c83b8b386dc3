"""The proxies in front of this node, and whose request it is that comes through them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

MAX_HOPS = 32
"""Proxies looked at behind each other. Every one of them is trusted; a longer row is a mistake or an attack."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class TrustedProxies:
    """Networks whose hosts are believed when they say for whom they ask. False when there are none."""

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[Network, ...] = ()) -> None:
        self._networks = networks

    def __bool__(self) -> bool:
        return bool(self._networks)

    def is_trusted(self, address: str) -> bool:
        """Whether the host with this IP address is one of them."""
        parsed = parse_address(address)
        return parsed is not None and self._has(parsed)

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """The address of the client behind `peer`, given the X-Forwarded-For that came with the request.

        Every proxy appends the address it was asked from, so the list is read from its end, as far as those who wrote
        are trusted: the rightmost address that is not a trusted proxy is the client's. What stands left of it came
        from the client itself and means nothing. Where an entry is no address, it is the last one before it.
        """
        if forwarded_for is None or not self.is_trusted(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            parsed = parse_address(_without_port(entry.strip(" \t")))
            if parsed is None:
                return client
            client = str(parsed)
            if not self._has(parsed):
                return client
        return client

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """An IP address in its plain form: no scope, and IPv4 where it was mapped into IPv6. None when it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _without_port(entry: str) -> str:
    """Some proxies append the port, and then write IPv6 in brackets."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, port = entry.partition(":")
    return host if colon and port.isdigit() else entry
