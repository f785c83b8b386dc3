"""The CDN's own zone as far as settings say it: its apex, its name servers, its SOA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cdn.dns.name import MAX_NAME_OCTETS, Labels, labels_of, wire_of
from cdn.errors import InvalidInput
from cdn.sites.domain import normalise_domain

MAX_NAME_SERVERS = 13
"""As the root has: more would not fit beside their addresses into one answer."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """A server of the zone. `ipv4` and `ipv6` are its addresses, packed, when its name is in the zone."""

    labels: Labels
    ipv4: tuple[bytes, ...] = ()
    ipv6: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SoaTimes:
    """What the SOA says to secondaries and caches (RFC 1035 3.3.13, RFC 2308 4), and how long it may be kept."""

    ttl_s: int = 3600
    """Also of the NS records and of the name servers' addresses."""
    refresh_s: int = 3600
    retry_s: int = 600
    expire_s: int = 1_209_600
    negative_ttl_s: int = 10


class Zone:
    """Frozen once made. The serial is the journal's, so it is not here."""

    def __init__(self, apex: Labels, servers: Sequence[NameServer], mailbox: Labels, times: SoaTimes) -> None:
        """`servers` come in the order of their answers; the first is named as the primary (RFC 1035: MNAME)."""
        self.apex = apex
        self.servers = tuple(servers)
        self.mailbox = mailbox
        self.times = times
        self.server_at = {server.labels: server for server in servers if self.has(server.labels)}
        self.between = frozenset(
            labels[start:] for labels in self.server_at for start in range(1, len(labels) - len(apex))
        )
        """Names without records of their own that other names are below (empty non-terminals, RFC 8020)."""

    def has(self, labels: Labels) -> bool:
        """Whether the name is the apex or below it."""
        return labels[-len(self.apex) :] == self.apex


def name_server(text: str, zone: str) -> NameServer:
    """`NAME ADDRESS...` as settings say it: addresses for a name in the zone, and only then. Raises InvalidInput."""
    name, *addresses = text.split() or [""]
    try:
        labels = labels_of(normalise_domain(name))
    except InvalidInput as exc:
        raise _fault(exc.message) from exc
    if len(wire_of(labels)) > MAX_NAME_OCTETS:
        raise _fault(f"{name[:80]!r} is longer than a name may be")
    apex = labels_of(zone)
    is_in_zone = labels[-len(apex) :] == apex
    if labels == apex:
        raise _fault(f"{name} is the zone itself: give its name servers names of their own")
    if is_in_zone and not addresses:
        raise _fault(f"{name} is in the zone, so nobody else says its addresses: write them after it, with a space")
    if addresses and not is_in_zone:
        raise _fault(f"{name} is not in the zone {zone}, so its addresses are said by its own: leave them out here")
    packed: dict[int, list[bytes]] = {4: [], 6: []}
    for each in addresses:
        try:
            address = ip_address(each)
        except ValueError:
            raise _fault(f"{each[:80]!r} is no IP address: write NAME ADDRESS ADDRESS ...") from None
        packed[address.version].append(address.packed)
    return NameServer(labels, tuple(packed[4]), tuple(packed[6]))


def _fault(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, field="name_servers")
