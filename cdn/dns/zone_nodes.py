"""The names of an imported zone, each with what is there or where it is delegated to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cdn.dns.code import Rcode, Rrtype
from cdn.dns.name import Labels
from cdn.dns.site_names import ADDRESS_TYPES
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer
from cdn.dns.zone_records import target_of

_NO_ADDITIONAL: Mapping[int, tuple[Rrset, ...]] = {}

WILD = b"*"
"""The label of a wildcard (RFC 4592 2.1.1)."""

_POINTING: frozenset[int] = frozenset({Rrtype.NS, Rrtype.MX, Rrtype.SRV, Rrtype.SVCB, Rrtype.HTTPS})


@dataclass(frozen=True, slots=True)
class Node:
    """A name that exists; without rrsets it is an empty non-terminal (RFC 4592 2.2.2).

    `types` are those that a question finds. `alias` is the label of a site in the CDN's zone, and how long its
    addresses may be kept. `referral` is the answer where the name is at or below a delegation.
    """

    rrsets: Mapping[int, Rrset] = field(default_factory=dict)
    types: frozenset[int] = frozenset()
    additional: Mapping[int, tuple[Rrset, ...]] = field(default_factory=lambda: _NO_ADDITIONAL)
    alias: tuple[bytes, int] | None = None
    referral: ZoneAnswer | None = None
    is_cut: bool = False


_EMPTY = Node()


def nodes_of(apex: Labels, rrsets: Iterable[Rrset]) -> dict[Labels, Node]:
    """All names of the zone. Raises InvalidInput when the rdata of an ALIAS, NS, MX, SRV, SVCB or HTTPS is none."""
    at: dict[Labels, dict[int, Rrset]] = {}
    for rrset in rrsets:
        at.setdefault(rrset.owner, {})[rrset.rrtype] = rrset
    for owner in tuple(at):
        for start in range(1, len(owner) - len(apex) + 1):
            at.setdefault(owner[start:], {})
    referrals = {
        owner: _referral(owner, types, at) for owner, types in at.items() if Rrtype.NS in types and owner != apex
    }
    return {owner: _node(owner, types, at, _cut(owner, apex, referrals), referrals) for owner, types in at.items()}


def _cut(owner: Labels, apex: Labels, referrals: Mapping[Labels, ZoneAnswer]) -> Labels | None:
    """The highest delegation at or above a name: below it nothing is answered."""
    if not referrals:
        return None
    ancestors = (owner[start:] for start in range(len(owner) - len(apex) - 1, -1, -1))
    return next((labels for labels in ancestors if labels in referrals), None)


def _node(
    owner: Labels,
    types: Mapping[int, Rrset],
    at: Mapping[Labels, Mapping[int, Rrset]],
    cut: Labels | None,
    referrals: Mapping[Labels, ZoneAnswer],
) -> Node:
    if cut is not None:
        referral = referrals[cut]
        return Node(rrsets=types, types=referral.types, referral=referral, is_cut=cut == owner)
    if not types:
        return _EMPTY
    pointing = _POINTING.intersection(types)
    additional = {rrtype: _addresses(types[rrtype], at) for rrtype in pointing} if pointing else _NO_ADDITIONAL
    alias = types.get(Rrtype.ALIAS)
    if alias is None:
        return Node(rrsets=types, types=_one_set(tuple(types)), additional=additional)
    own = {rrtype: rrset for rrtype, rrset in types.items() if rrtype != Rrtype.ALIAS}
    return Node(rrsets=own, types=ADDRESS_TYPES.union(own), additional=additional, alias=_alias(alias))


@lru_cache(maxsize=1024)
def _one_set(types: tuple[int, ...]) -> frozenset[int]:
    """The same object for the same types: a zone has thousands of names with an address and nothing else."""
    return frozenset(types)


def _referral(owner: Labels, types: Mapping[int, Rrset], at: Mapping[Labels, Mapping[int, Rrset]]) -> ZoneAnswer:
    """To the servers of a delegated zone, with the addresses that are known here (RFC 1034 4.3.2 3b, RFC 9471)."""
    ds = types.get(Rrtype.DS)
    return ZoneAnswer(
        Rcode.NOERROR,
        is_authoritative=False,
        authority=(types[Rrtype.NS],) if ds is None else (types[Rrtype.NS], ds),
        additional=_addresses(types[Rrtype.NS], at),
        proof=Proof.NO_DS if ds is None else Proof.NONE,
        name=owner,
        closest_encloser=owner,
        types=frozenset({int(Rrtype.NS)} if ds is None else {int(Rrtype.NS), int(Rrtype.DS)}),
    )


def _addresses(pointing: Rrset, at: Mapping[Labels, Mapping[int, Rrset]]) -> tuple[Rrset, ...]:
    """Of the names that records point to, where they are known here: each name once."""
    targets = dict.fromkeys(target_of(pointing.rrtype, rdata) for rdata in pointing.rdatas)
    found: list[Rrset] = []
    for target in targets:
        # "." in SVCB and HTTPS is the owner itself (RFC 9460 2.5), which at a wildcard is a name not known yet
        name = pointing.owner if target == () and pointing.owner[:1] != (WILD,) else target
        types = at.get(name, {}) if name is not None else {}
        found.extend(types[rrtype] for rrtype in (Rrtype.A, Rrtype.AAAA) if rrtype in types)
    return tuple(found)


def _alias(alias: Rrset) -> tuple[bytes, int]:
    target = target_of(Rrtype.ALIAS, alias.rdatas[0])
    return (target[0] if target else b""), alias.ttl_s
