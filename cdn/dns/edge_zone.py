"""The CDN's own zone, in which sites and previews have their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from cdn.dns.challenges import Challenges
from cdn.dns.client import Client
from cdn.dns.code import Rcode, Rrtype
from cdn.dns.denial import SERVFAIL, minimal_any, negative_soa, no_data, no_name
from cdn.dns.name import Labels, wire_of
from cdn.dns.site_names import ADDRESS_TYPES, SiteNames
from cdn.dns.zone import Zone
from cdn.dns.zone_answer import Rrset, ZoneAnswer
from cdn.errors import InvalidInput
from cdn.sites.site import Site

MAX_ALPN_OCTETS = 255
"""Of one protocol's name: its length is one octet (RFC 9460 7.1)."""

_ALPN = 1
_SELF = b"\x00\x01\x00"
"""Priority 1, at the name itself (RFC 9460 2.5)."""


class EdgeZone:
    """Frozen but for `challenges`, which whoever holds it sets anew, and `serial`. See `AuthoritativeZone`."""

    def __init__(self, zone: Zone, sites: SiteNames, https_alpn: Sequence[str] = ()) -> None:
        """`https_alpn`: what HTTPS records (RFC 9460) announce besides HTTP/1.1; none: there are no such records.

        Raises InvalidInput when a protocol's name has no or too many letters.
        """
        self.challenges = Challenges()
        self._zone = zone
        self._sites = sites
        self._depth = len(zone.apex)
        self._serial: int | None = None
        self._servers = {labels: _addresses(zone, labels) for labels in zone.server_at}
        self._glue = tuple(rrset for types in self._servers.values() for rrset in types.values())
        self._https = Rrset((), Rrtype.HTTPS, sites.ttl_s, (_https(https_alpn),)) if https_alpn else None
        self._site_types = ADDRESS_TYPES | ({int(Rrtype.HTTPS)} if self._https is not None else frozenset())
        self._soa = self._negative = self._made_soa(0)
        self._apex: Mapping[int, Rrset] = {}
        self.serial = None

    @property
    def apex(self) -> Labels:
        return self._zone.apex

    @property
    def serial(self) -> int | None:
        """The SOA's: the sequence of the last record that could change an answer. None until there is a copy of the
        journal, and until then names that the journal would know are SERVFAIL."""
        return self._serial

    @serial.setter
    def serial(self, serial: int | None) -> None:
        zone = self._zone
        self._serial = serial
        self._soa = self._made_soa(serial or 0)
        self._negative = negative_soa(self._soa)
        names = tuple(wire_of(server.labels) for server in zone.servers)
        self._apex = {
            int(Rrtype.SOA): self._soa,
            int(Rrtype.NS): Rrset(zone.apex, Rrtype.NS, zone.times.ttl_s, names),
        }

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        """See `AuthoritativeZone`."""
        if labels == self._zone.apex:
            answer = self._of(labels, self._apex, qtype)
            return answer.extended(additional=self._glue) if qtype == Rrtype.NS else answer
        server = self._servers.get(labels)
        if server is not None:
            return self._of(labels, server, qtype)
        site = self._site_of(labels)
        if site is not None:
            return self._of_site(labels, site, qtype, client)
        if self._serial is None:
            return SERVFAIL
        if labels in self._zone.between or self.challenges.has(labels):
            return self._of(labels, {}, qtype)
        return no_name(self._negative, labels, self._closest_encloser(labels))

    def delegates(self, labels: Labels) -> bool:
        """It delegates nothing."""
        return False

    def _site_of(self, labels: Labels) -> Site | None:
        if self._serial is None or len(labels) != self._depth + 1:
            return None
        return self._sites.site_of(labels[0])

    def _of(
        self,
        labels: Labels,
        rrsets: Mapping[int, Rrset],
        qtype: int,
        more: frozenset[int] = frozenset(),
        scope_prefix: int = 0,
    ) -> ZoneAnswer:
        """From the records at a name, where there are those of the types `more` too."""
        types, rrset = more.union(rrsets), rrsets.get(qtype)
        if labels in self.challenges.texts:
            types |= {int(Rrtype.TXT)}
            rrset = self.challenges.beside(labels, rrset) if qtype == Rrtype.TXT else rrset
        if qtype == Rrtype.ANY and types:
            rrset = minimal_any(labels)
        if rrset is None:
            return no_data(self._negative, labels, types - {qtype}, scope_prefix=scope_prefix)
        return ZoneAnswer(
            Rcode.NOERROR,
            answer=(rrset,),
            name=labels,
            closest_encloser=labels,
            types=types,
            scope_prefix=scope_prefix,
        )

    def _of_site(self, labels: Labels, site: Site, qtype: int, client: Client) -> ZoneAnswer:
        if qtype not in ADDRESS_TYPES:
            https = {} if self._https is None else {int(Rrtype.HTTPS): replace(self._https, owner=labels)}
            return self._of(labels, https, qtype, self._site_types)
        chosen = self._sites.chosen(site, qtype, client)
        if chosen is None:
            return SERVFAIL
        ttl_s = self._sites.ttl_s if chosen.ttl_s is None else chosen.ttl_s
        rrsets = {qtype: Rrset(labels, qtype, ttl_s, chosen.packed)} if chosen.packed else {}
        answer = self._of(labels, rrsets, qtype, self._site_types, chosen.scope_prefix)
        return replace(answer, likeness=partial(self._sites.chosen, site, qtype))

    def _closest_encloser(self, labels: Labels) -> Labels:
        for start in range(1, len(labels) - self._depth):
            name = labels[start:]
            if name in self._servers or name in self._zone.between or self.challenges.has(name) or self._site_of(name):
                return name
        return self._zone.apex

    def _made_soa(self, serial: int) -> Rrset:
        times = self._zone.times
        numbers = (serial, times.refresh_s, times.retry_s, times.expire_s, times.negative_ttl_s)
        names = wire_of(self._zone.servers[0].labels) + wire_of(self._zone.mailbox)
        rdata = names + b"".join((number & 0xFFFF_FFFF).to_bytes(4, "big") for number in numbers)
        return Rrset(self._zone.apex, Rrtype.SOA, times.ttl_s, (rdata,))


def _addresses(zone: Zone, labels: Labels) -> dict[int, Rrset]:
    server = zone.server_at[labels]
    of_types = ((int(Rrtype.A), server.ipv4), (int(Rrtype.AAAA), server.ipv6))
    return {rrtype: Rrset(labels, rrtype, zone.times.ttl_s, rdatas) for rrtype, rdatas in of_types if rdatas}


def _https(alpn: Sequence[str]) -> bytes:
    ids = [each.encode() for each in alpn]
    for each in ids:
        if not 1 <= len(each) <= MAX_ALPN_OCTETS:
            raise InvalidInput(
                f"{each[:40]!r} is no name of a protocol: it has 1 to {MAX_ALPN_OCTETS} octets", field="https_alpn"
            )
    value = b"".join(bytes((len(each),)) + each for each in ids)
    return _SELF + _ALPN.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
