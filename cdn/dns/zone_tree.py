"""An imported zone, as a tree of names that answers by RFC 1034 4.3.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cdn.dns.challenges import Challenges
from cdn.dns.client import Client
from cdn.dns.code import Rcode, Rrtype
from cdn.dns.denial import SERVFAIL, minimal_any, negative_soa, no_data, no_name
from cdn.dns.name import MAX_NAME_OCTETS, Labels, wire_of
from cdn.dns.site_names import ADDRESS_TYPES, SiteNames
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer
from cdn.dns.zone_nodes import WILD, Node, nodes_of
from cdn.dns.zone_records import rrset_of, target_of
from cdn.errors import InvalidInput
from cdn.journal.record import ZoneRecords

MAX_CHAIN = 16
"""Names in one chain of CNAME and DNAME, as many as resolvers follow; of a longer one they ask for the rest."""

_ENDS_CHAIN = frozenset({Rrtype.CNAME, Rrtype.ANY})

_Step = tuple[ZoneAnswer, Labels | None]
"""What is at one name, and the name at which to go on."""


class ZoneTree:
    """Frozen but for `challenges`, which whoever holds it sets anew. See `AuthoritativeZone`.

    Wildcards go by RFC 4592, negative answers by RFC 2308, DNAME by RFC 6672, referrals carry all glue (RFC 9471), and
    the DS records of the delegation where there are some. A chain of CNAME and DNAME is followed within the zone. It
    ends where it leaves the zone, because resolvers take nothing else from here, and at a CNAME from a wildcard,
    because a signed answer proves what does not exist only once. The answer to ANY is the CNAME that is there or else
    the HINFO of RFC 8482 4.2. The SOA's serial is the one of the zone file.
    """

    def __init__(self, apex: Labels, rrsets: Sequence[ZoneRecords], sites: SiteNames) -> None:
        """`rrsets` passed `read_zone_file`. Names with an ALIAS are answered by `sites`. Raises InvalidInput when an
        rdata cannot be read, or the zone has no SOA."""
        self.apex = apex
        self.challenges = Challenges()
        self._sites = sites
        self._nodes = nodes_of(apex, map(rrset_of, rrsets))
        soa = self._nodes[apex].rrsets.get(Rrtype.SOA) if apex in self._nodes else None
        if soa is None:
            raise InvalidInput("the zone has no SOA record", field="zone")
        self._negative = negative_soa(soa)

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        """See `AuthoritativeZone`."""
        last, target = self._at(labels, qtype, client)
        if target is None:
            return last
        answer, seen = last.answer, {labels}
        while target is not None and target not in seen and len(seen) < MAX_CHAIN and self._has(target):
            seen.add(target)
            last, target = self._at(target, qtype, client)
            if last is SERVFAIL:
                return last
            answer += tuple(rrset for rrset in last.answer if rrset not in answer)
        return replace(last, answer=answer, is_authoritative=True)

    def delegates(self, labels: Labels) -> bool:
        """Whether the zone hands the name to servers of its own, so that it has to say whether that one is signed."""
        node = self._nodes.get(labels)
        return node is not None and node.is_cut

    def _has(self, labels: Labels) -> bool:
        return labels[-len(self.apex) :] == self.apex

    def _at(self, name: Labels, qtype: int, client: Client) -> _Step:
        node = self._nodes.get(name)
        if node is None:
            return self._absent(name, qtype, client)
        if node.referral is not None and not (node.is_cut and qtype == Rrtype.DS):
            return node.referral, None
        return self._found(node, name, qtype, client)

    def _absent(self, name: Labels, qtype: int, client: Client) -> _Step:
        """No record stands at the name or below it."""
        start = next(start for start in range(1, len(name)) if name[start:] in self._nodes)
        encloser = name[start:]
        node = self._nodes[encloser]
        if node.referral is not None:
            return node.referral, None
        dname = node.rrsets.get(Rrtype.DNAME)
        if dname is not None:
            return _redirected(name, dname, qtype)
        if name in self.challenges.texts:
            return self._found(Node(), name, qtype, client)
        wild = self._nodes.get((WILD, *encloser))
        if wild is not None:
            return self._found(wild, name, qtype, client, encloser)
        if name in self.challenges.between:
            return no_data(self._negative, name, frozenset()), None
        between = (name[at:] for at in range(1, start) if self.challenges.has(name[at:]))
        return no_name(self._negative, name, next(between, encloser)), None

    def _found(self, node: Node, name: Labels, qtype: int, client: Client, wildcard_of: Labels | None = None) -> _Step:
        """`wildcard_of`: the node is the wildcard below that name and stands for `name`."""
        cname = node.rrsets.get(Rrtype.CNAME)
        if cname is not None:
            ends = wildcard_of is not None or qtype in _ENDS_CHAIN
            answer = _positive(cname, node, name, wildcard_of)
            return answer, None if ends else target_of(Rrtype.CNAME, cname.rdatas[0])
        if node.alias is not None and qtype in ADDRESS_TYPES:
            return self._of_site(node, name, qtype, client, wildcard_of), None
        rrset, types = node.rrsets.get(qtype), node.types
        if wildcard_of is None and name in self.challenges.texts:
            types |= {int(Rrtype.TXT)}
            rrset = self.challenges.beside(name, rrset) if qtype == Rrtype.TXT else rrset
        if qtype == Rrtype.ANY and types:
            rrset = minimal_any(name)
        if rrset is None:
            return no_data(self._negative, name, types, wildcard_of=wildcard_of), None
        return _positive(rrset, node, name, wildcard_of), None

    def _of_site(self, node: Node, name: Labels, qtype: int, client: Client, wildcard_of: Labels | None) -> ZoneAnswer:
        """An ALIAS: the site's nodes. It is NODATA when there is no such site."""
        assert node.alias is not None
        label, ttl_s = node.alias
        site = self._sites.site_of(label)
        likeness = None if site is None else partial(self._sites.chosen, site, qtype)
        chosen = None if likeness is None else likeness(client)
        if site is not None and chosen is None:
            return SERVFAIL
        if chosen is None or not chosen.packed:
            # the site may come, or get nodes of that family, sooner than the zone's own negative TTL says
            soa = replace(self._negative, ttl_s=min(self._negative.ttl_s, self._sites.ttl_s))
            scope_prefix = 0 if chosen is None else chosen.scope_prefix
            absent = no_data(soa, name, node.types - {qtype}, wildcard_of=wildcard_of, scope_prefix=scope_prefix)
            return replace(absent, likeness=likeness)
        ttl_s = min(ttl_s, self._sites.ttl_s if chosen.ttl_s is None else chosen.ttl_s)
        answer = _positive(Rrset(name, qtype, ttl_s, chosen.packed), node, name, wildcard_of)
        return replace(answer, scope_prefix=chosen.scope_prefix, likeness=likeness)


def _positive(rrset: Rrset, node: Node, name: Labels, wildcard_of: Labels | None) -> ZoneAnswer:
    return ZoneAnswer(
        Rcode.NOERROR,
        answer=(rrset if rrset.owner == name else replace(rrset, owner=name),),
        additional=node.additional.get(rrset.rrtype, ()),
        proof=Proof.NONE if wildcard_of is None else Proof.WILDCARD,
        name=name,
        closest_encloser=name if wildcard_of is None else wildcard_of,
        types=node.types,
    )


def _redirected(name: Labels, dname: Rrset, qtype: int) -> _Step:
    """What a DNAME above makes of a name (RFC 6672 3.2); a name that gets too long is YXDOMAIN."""
    target = name[: len(name) - len(dname.owner)] + (target_of(Rrtype.DNAME, dname.rdatas[0]) or ())
    wire = wire_of(target)
    if len(wire) > MAX_NAME_OCTETS:
        return ZoneAnswer(Rcode.YXDOMAIN, answer=(dname,), name=name, closest_encloser=dname.owner), None
    cname = Rrset(name, Rrtype.CNAME, dname.ttl_s, (wire,))
    answer = ZoneAnswer(Rcode.NOERROR, answer=(dname, cname), name=name, closest_encloser=dname.owner)
    return answer, None if qtype in _ENDS_CHAIN else target
