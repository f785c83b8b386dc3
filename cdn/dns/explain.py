"""Why a name is answered as it is for a client: who was left after each filter, and why the others went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import dns.name

from cdn.dns.choice import Choice, Family, LiveGroup, LivePool, Resort, is_of, slot_of
from cdn.dns.client import AddressFamily, Client, client_at
from cdn.dns.code import Rrtype
from cdn.dns.distance import Distance
from cdn.dns.fleet_state import FleetState
from cdn.dns.name import labels_of
from cdn.dns.ranking import Standing
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_answer import ZoneAnswer, Zones
from cdn.errors import CdnError, InvalidInput
from cdn.fleet.eligibility import eligibility
from cdn.fleet.withdrawal import Share, ShareReason
from cdn.sites.domain import normalise_domain
from cdn.sites.site import Site

MAX_NAMED = 40
"""Nodes named beside each filter; of further ones only the number is said: an explanation has to fit a message."""

_TYPES = {Family.IPV4: Rrtype.A, Family.IPV6: Rrtype.AAAA}

Document = dict[str, Any]


class NotPlaced(CdnError):
    """Nothing is known of the fleet, so nobody is chosen."""


class NameExplainer:
    """Asks the same zones as visitors do, and the same choice."""

    def __init__(self, zones: Zones, sites: SiteNames, fleet: FleetState) -> None:
        self._zones = zones
        self._sites = sites
        self._fleet = fleet

    async def explain(self, name: str, source: str) -> Mapping[str, Any]:
        """For a client at the address `source`, or in the network `source`, as its resolver would pass it on.

        Raises InvalidInput for a name or an address that is none, NotPlaced.
        """
        client = read_client(source)
        labels = labels_of(normalise_domain(name))
        zone = self._zones.zone_of(labels, Rrtype.A)
        if zone is None:
            return {"name": name, "from": source, "zone": None}
        document: Document = {"name": name, "from": source, "zone": b".".join(zone.apex).decode("latin-1")}
        for family, qtype in _TYPES.items():
            asked = _Asked(self._sites)
            try:
                answer = zone.answer(labels, qtype, client)
            finally:
                asked.end()
            document[qtype.name] = _answer(answer, qtype)
            if asked.site is not None:
                document["site"] = asked.site.name
                document[qtype.name] |= self._chosen(asked.site, family, client)
        return document

    def _chosen(self, site: Site, family: Family, client: Client) -> Document:
        choice = self._sites.addresses
        if not isinstance(choice, Choice):
            raise NotPlaced("nothing is known of the fleet yet: no control was heard, and no view of it is on disk")
        shares = {each.node.member.node_id: each.share for each in self._fleet.shares()}
        return _Explanation(choice, site, family, client, shares).document()


class _Asked:
    """Stands in for the choice while one question is answered, and notes for which site it was asked."""

    def __init__(self, sites: SiteNames) -> None:
        self.site: Site | None = None
        self._sites = sites
        self._addresses = sites.addresses
        if self._addresses is not None:
            sites.addresses = self

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        """See `SiteAddresses`."""
        assert self._addresses is not None, "it stands in for one"
        self.site = site
        return self._addresses.addresses(site, family, client)

    def end(self) -> None:
        """The choice is back."""
        self._sites.addresses = self._addresses


@dataclass(frozen=True, slots=True)
class _Filter:
    """`left`: who is left after it, by number; `out`: who went, with the reason."""

    name: str
    left: tuple[int, ...]
    out: tuple[tuple[int, str], ...]


class _Explanation:
    """One choice, filter by filter."""

    def __init__(self, choice: Choice, site: Site, family: Family, client: Client, shares: Mapping[str, Share]) -> None:
        self._choice = choice
        self._site = site
        self._family = family
        self._client = client
        self._shares = shares
        self._pool: LivePool = choice.live(site, family)
        self._standing: Standing = choice.geometry.standing(client)
        self._slot = slot_of(client)

    def document(self) -> Document:
        """All of it."""
        distances = self._distances()
        place = self._choice.geometry.place(self._standing.place)
        return {
            "client": {
                "location": None if place.latitude is None else [place.latitude, place.longitude],
                "country": place.country,
                "continent": place.continent,
                "prefix": self._standing.prefix,
                "slot": self._slot,
            },
            "resort": None if self._pool.resort is None else self._pool.resort.value,
            "filters": [
                {
                    "filter": each.name,
                    "left": _some([self._id(number) for number in each.left]),
                    "out": _some([[self._id(number), why] for number, why in each.out]),
                }
                for each in self._filters(distances)
            ],
            "nearest": [
                [self._id(number), f"{found.km:.0f} km ({found.basis.value})"]
                for number, found in sorted(distances.items(), key=lambda each: (each[1].km, self._id(each[0])))
            ][:MAX_NAMED],
        }

    def _filters(self, distances: Mapping[int, Distance]) -> Iterable[_Filter]:
        everyone = tuple(range(len(self._choice.candidates)))
        allowed = frozenset(self._pool.pool.nodes)
        left = mine = tuple(number for number in everyone if number in allowed)
        yield _Filter("eligible", left, tuple((one, self._forbidden(one)) for one in everyone if one not in allowed))
        for name, reason in (("up", self._down), ("current", self._behind), ("not draining", self._away)):
            gone = [(number, why) for number in left if (why := reason(number)) is not None]
            left = tuple(number for number in left if number not in dict(gone))
            yield _Filter(name, left, tuple(gone))
        if self._pool.resort is not Resort.SHARES:
            left = tuple(number for number in mine if self._is_of_resort(number))
            yield _Filter("last resort", left, ())
        kept = tuple(number for number in left if self._has_family(number))
        said = f"it has no {'IPv4' if self._family is Family.IPV4 else 'IPv6'} address"
        yield _Filter("family", kept, tuple((number, said) for number in left if number not in kept))
        if kept:
            yield from self._by_place(kept, distances)

    def _by_place(self, left: Sequence[int], distances: Mapping[int, Distance]) -> Iterable[_Filter]:
        """Nearest, spread, the first few."""
        group, is_thinned = self._group()
        near = tuple(member.number for member in group.members)
        far = [(number, f"{distances[number].km:.0f} km") for number in left if number not in near]
        yield _Filter("nearest", near, tuple(far))
        drawn = tuple(member.number for member in group.drawn(self._slot, is_thinned=is_thinned))
        parts = {member.number: member for member in group.members}
        rest = [
            (number, f"not in this slot: it takes {parts[number].fraction:.0%}, weight {parts[number].weight:g}")
            for number in near
            if number not in drawn
        ]
        yield _Filter("spread by load and weight", drawn, tuple(rest))
        most = self._choice.most
        beyond = tuple((number, f"after the first {most}") for number in drawn[most:])
        yield _Filter(f"first {most}", drawn[:most], beyond)

    def _group(self) -> tuple[LiveGroup, bool]:
        """The one that answers in this slot, and whether its nodes leave slots to others."""
        groups = [group for group, _ in self._pool.walk(self._standing)]
        for group in groups:
            if group.named(self._slot):
                return group, True
        return groups[0], False

    def _distances(self) -> dict[int, Distance]:
        found = zip(self._pool.pool.spots, self._pool.pool.distances(self._standing), strict=True)
        return {number: each for spot, each in found for number in spot.nodes}

    def _forbidden(self, number: int) -> str:
        node = self._choice.candidates[number].node
        if not node.packed:
            return "it has no public address"
        if node.member.weight <= 0:
            return "its weight is 0"
        return eligibility(node.facts, self._site).value

    def _down(self, number: int) -> str | None:
        candidate = self._choice.candidates[number]
        return None if candidate.packed else "no address of it answers this name server's checks"

    def _behind(self, number: int) -> str | None:
        share = self._share(number)
        if share is None or share.reason is not ShareReason.WITHDRAWN or self._choice.candidates[number].fraction > 0:
            return None
        member = self._choice.candidates[number].node.member
        return f"{member.state.value}, {member.lag_s:g} s behind"

    def _away(self, number: int) -> str | None:
        candidate = self._choice.candidates[number]
        return None if candidate.fraction > 0 else candidate.node.member.state.value

    def _share(self, number: int) -> Share | None:
        return self._shares.get(self._id(number))

    def _is_of_resort(self, number: int) -> bool:
        return self._pool.resort is not None and is_of(self._choice.candidates[number], self._pool.resort)

    def _has_family(self, number: int) -> bool:
        candidate = self._choice.candidates[number]
        return any(len(each) == self._family.value for each in candidate.packed or candidate.node.packed)

    def _id(self, number: int) -> str:
        return self._choice.candidates[number].node.member.node_id


def read_client(text: str) -> Client:
    """An address, or the network that a resolver would pass on of one. Raises InvalidInput."""
    try:
        if "/" not in text:
            return client_at(text)
        network = ip_network(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:80]!r} is neither an IP address nor a network: give one like 203.0.113.7 or 203.0.113.0/24",
            field="from",
        ) from None
    family = AddressFamily.IPV4 if network.version == 4 else AddressFamily.IPV6
    return Client(family, int(network.network_address), network.prefixlen)


def _answer(answer: ZoneAnswer, qtype: int) -> Document:
    rrsets = [rrset for rrset in answer.answer if rrset.rrtype == qtype]
    aliases = [rrset.rdatas[0] for rrset in answer.answer if rrset.rrtype == Rrtype.CNAME]
    return {
        "rcode": answer.rcode.name,
        "addresses": [str(ip_address(rdata)) for rrset in rrsets for rdata in rrset.rdatas],
        "ttl_s": min((rrset.ttl_s for rrset in answer.answer), default=None),
        "scope_prefix": answer.scope_prefix,
        "leads_to": dns.name.from_wire(aliases[-1], 0)[0].to_text(omit_final_dot=True) if aliases else None,
        "is_delegated": not answer.is_authoritative,
    }


def _some(entries: list[Any]) -> list[Any]:
    """The first of them, and how many more there are."""
    more = len(entries) - MAX_NAMED
    return entries if more <= 0 else [*entries[:MAX_NAMED], f"and {more} more"]
