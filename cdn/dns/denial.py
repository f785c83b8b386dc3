"""What a zone says when it has nothing, and when it says next to nothing on purpose."""

from __future__ import annotations

from cdn.dns.code import Rcode, Rrtype
from cdn.dns.name import Labels
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer

ANY_TTL_S = 3600
"""How long the answer to ANY may be kept: it never says anything else."""

_ANY = b"\x07RFC8482\x00"

SERVFAIL = ZoneAnswer(Rcode.SERVFAIL, is_authoritative=False)
"""What cannot be said now, and must not be denied."""


def negative_soa(soa: Rrset) -> Rrset:
    """The SOA beside a negative answer: its TTL is how long that may be remembered (RFC 2308 3 and 5)."""
    minimum_s = int.from_bytes(soa.rdatas[0][-4:], "big")
    return Rrset(soa.owner, Rrtype.SOA, min(soa.ttl_s, minimum_s), soa.rdatas)


def no_data(
    soa: Rrset,
    name: Labels,
    types: frozenset[int],
    *,
    wildcard_of: Labels | None = None,
    answer: tuple[Rrset, ...] = (),
    scope_prefix: int = 0,
) -> ZoneAnswer:
    """The name exists and has `types`, not the one asked for. `soa` is the negative one. `wildcard_of`: the name is
    there by the wildcard below that one."""
    is_wild = wildcard_of is not None
    return ZoneAnswer(
        Rcode.NOERROR,
        answer=answer,
        authority=(soa,),
        proof=Proof.WILDCARD_NO_DATA if is_wild else Proof.NO_DATA,
        name=name,
        closest_encloser=wildcard_of if wildcard_of is not None else name,
        types=types,
        scope_prefix=scope_prefix,
    )


def no_name(soa: Rrset, name: Labels, closest_encloser: Labels, *, answer: tuple[Rrset, ...] = ()) -> ZoneAnswer:
    """The name does not exist. After a chain the RCODE is about its last name (RFC 6604)."""
    return ZoneAnswer(
        Rcode.NXDOMAIN,
        answer=answer,
        authority=(soa,),
        proof=Proof.NO_NAME,
        name=name,
        closest_encloser=closest_encloser,
    )


def minimal_any(owner: Labels) -> Rrset:
    """What ANY is answered with at a name that has records and no CNAME (RFC 8482 4.2)."""
    return Rrset(owner, Rrtype.HINFO, ANY_TTL_S, (_ANY,))
