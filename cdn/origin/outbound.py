"""Which addresses may be connected to for a user (DESIGN I15). Asked at connect time, with the very address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER_IPV4 = tuple(map(IPv4Network, ("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32")))
_NEVER_IPV6 = tuple(map(IPv6Network, ("::/128", "ff00::/8")))

_INSIDE_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",  # between a provider and its customers; a metadata service of one cloud
            "127.0.0.0/8",
            "168.63.129.16/32",  # a metadata service among public addresses
            "169.254.0.0/16",  # link-local: most metadata services
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
        ),
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_INSIDE_IPV6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")))
_TRANSLATED = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class OutboundRule:
    """What the operator allows beyond the public internet. Public means: global unicast in IANA's registries.

    `allowed_networks` are allowed whatever they are; `allows_private` allows every address that a connection can be
    made to. An IPv6 address that stands for an IPv4 address is judged as that one.
    """

    allows_private: bool = False
    allowed_networks: tuple[Network, ...] = ()

    def may_connect(self, address: Address) -> bool:
        """Whether a connection to this address may be made for a user."""
        meant = _embedded(address) or address
        if _is_in(meant, _NEVER_IPV4) or _is_in(meant, _NEVER_IPV6):
            return False
        if self.allows_private or _is_in(meant, self.allowed_networks) or _is_in(address, self.allowed_networks):
            return True
        if isinstance(meant, IPv4Address):
            return not _is_in(meant, _INSIDE_IPV4)
        return meant in _GLOBAL_IPV6 and not _is_in(meant, _INSIDE_IPV6)


def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Networks such as "10.1.0.0/16" or single addresses. Raises ValueError that names the first that is none."""
    return tuple(ip_network(text) for text in texts)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address may end at: mapped, compatible, NAT64 or 6to4."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour if address in _SIX_TO_FOUR else None


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
