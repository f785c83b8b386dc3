"""Signing the answers of one zone while they are given (RFC 4033 to 4035, 4470, 6840)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import assert_never
from zlib import crc32

from cdn.dns.code import IN, Rcode, Rrtype
from cdn.dns.name import Labels, wire_of
from cdn.dns.nsec import after, around, nsec_rdata
from cdn.dns.signature_memo import SignatureMemo, Signed
from cdn.dns.zone_answer import Proof, Rrset, ZoneAnswer
from cdn.tls.zone_key import ALGORITHM, ZoneKey
from cdn.tls.zone_key_roll import DNSKEY_TTL_S, ds_from, is_going, signing_key

VALID_S = 14 * 86_400
"""How long a signature is good for, at the least: a resolver that keeps an answer for a week still holds a good one."""

REMAINING_S = 8 * 86_400
"""A signature that is good for less than this is made anew: longer than a week's TTL and the day that an answer may be
remembered here."""

JITTER_S = 2 * 86_400
"""By up to so much more are signatures good, each by its own, so that they are not all made anew at one time."""

SKEW_S = 3600
"""By so much may clocks of resolvers be slow."""

_RRSIG_HEAD = Struct("!HBBIIIH")
_RECORD_TAIL = Struct("!HHIH")

_ALL_KEYS_SIGN = frozenset({Rrtype.DNSKEY, Rrtype.CDS, Rrtype.CDNSKEY})
_MADE_HERE = frozenset({Rrtype.DNSKEY, Rrtype.CDS, Rrtype.CDNSKEY, Rrtype.NSEC, Rrtype.RRSIG})
_SIGNED_RCODES = frozenset({Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.YXDOMAIN})
_OF_SYNTHESIS = frozenset({Proof.NO_NAME, Proof.WILDCARD, Proof.WILDCARD_NO_DATA})
_AT_DELEGATION = frozenset({Rrtype.NS, Rrtype.DS})

_CDS_DELETE = bytes(5)
_CDNSKEY_DELETE = b"\0\0\x03\0\0"


@dataclass(frozen=True, slots=True)
class SignatureMemos:
    """Shared by all zones of a process. Names that anybody can make up have one of their own, so that a flood of them
    costs none of the signatures of names that are."""

    lasting: SignatureMemo = field(default_factory=SignatureMemo)
    passing: SignatureMemo = field(default_factory=SignatureMemo)


class ZoneSigner:
    """See `Signer`.

    What comes from a wildcard is signed as if the name itself were there, so it needs no proof beside it (one
    signature either way), and the proof that a name has no such type is the same with and without a wildcard. What
    does not exist is denied with NSEC records that cover that name alone; a name that no such record can cover is said
    to exist, without records.
    """

    def __init__(
        self, apex: Labels, keys: Sequence[ZoneKey], memos: SignatureMemos, *, longest_ttl_s: int, negative_ttl_s: int
    ) -> None:
        """`keys` are at least one. `negative_ttl_s` is how long the zone lets its denials be kept (RFC 9077)."""
        self.apex = apex
        self._keys = tuple(keys)
        self._signing = signing_key(keys)
        self._memos = memos
        self._negative_ttl_s = negative_ttl_s
        self._ds_from = 0.0 if is_going(keys) else ds_from(self._signing, longest_ttl_s)
        self._signer = wire_of(apex)

    def signed(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        """See `Signer`."""
        if answer.rcode not in _SIGNED_RCODES:
            return answer
        answer, denials = self._denied(self.unsigned(answer, qtype, wall_s), qtype, wall_s)
        is_referral = any(rrset.rrtype == Rrtype.NS and rrset.owner != self.apex for rrset in answer.authority)
        names = self._memos.passing if answer.proof in _OF_SYNTHESIS else self._memos.lasting
        return replace(
            answer,
            answer=self._section(answer.answer, names, wall_s),
            authority=self._section(answer.authority, self._memos.lasting, wall_s)
            + self._section(denials, names, wall_s),
            additional=answer.additional
            if is_referral
            else self._section(answer.additional, self._memos.lasting, wall_s),
        )

    def unsigned(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        """See `Signer`."""
        if qtype not in _MADE_HERE or answer.proof not in (Proof.NO_DATA, Proof.WILDCARD_NO_DATA):
            return answer
        made = self._made(answer, qtype, wall_s)
        if made is None:
            return answer
        proof = Proof.WILDCARD if answer.proof is Proof.WILDCARD_NO_DATA else Proof.NONE
        return replace(answer, answer=(*answer.answer, made), authority=(), proof=proof)

    def _made(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> Rrset | None:
        """Records of a type that stands in no zone file, at a name that exists; None: it has none of them."""
        if qtype in (Rrtype.NSEC, Rrtype.RRSIG):
            nsec = self._nsec(answer, answer.name, answer.types, wall_s)
            # Of all signatures at a name one is enough for whoever asks for them (RFC 8482 4.1 and 7).
            return nsec if qtype == Rrtype.NSEC else self._rrsigs(nsec, self._memos.passing, wall_s)
        rdatas = self._key_rdatas(qtype, wall_s) if answer.name == self.apex else ()
        return Rrset(self.apex, qtype, DNSKEY_TTL_S, rdatas) if rdatas else None

    def _key_rdatas(self, qtype: int, wall_s: float) -> tuple[bytes, ...]:
        """What stands at the apex of the zone's keys. CDS and CDNSKEY say what the DS record above shall be."""
        if qtype == Rrtype.DNSKEY:
            return tuple(sorted(key.dnskey for key in self._keys))
        if is_going(self._keys):
            return (_CDS_DELETE if qtype == Rrtype.CDS else _CDNSKEY_DELETE,)
        if wall_s < self._ds_from:
            return ()
        return (self._signing.ds if qtype == Rrtype.CDS else self._signing.dnskey,)

    def _denied(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> tuple[ZoneAnswer, tuple[Rrset, ...]]:
        """The answer, and the records that prove what it says is not there (RFC 4035 3.1.3)."""
        match answer.proof:
            case Proof.NONE | Proof.WILDCARD:
                return answer, ()
            case Proof.NO_DATA | Proof.WILDCARD_NO_DATA:
                return answer, (self._nsec(answer, answer.name, answer.types - {qtype}, wall_s),)
            case Proof.NO_DS:
                cut = next((rrset.owner for rrset in answer.authority if rrset.rrtype == Rrtype.NS), answer.name)
                return answer, (self._nsec(answer, cut, frozenset({Rrtype.NS}), wall_s),)
            case Proof.NO_NAME:
                return self._no_name(answer, qtype, wall_s)
            case _:
                assert_never(answer.proof)

    def _no_name(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> tuple[ZoneAnswer, tuple[Rrset, ...]]:
        encloser = answer.closest_encloser
        next_closer = answer.name[len(answer.name) - len(encloser) - 1 :]
        spans = [around(name, self.apex) for name in dict.fromkeys((next_closer, (b"*", *encloser)))]
        covering = tuple(self._nsec_of(answer, owner, after_it, frozenset()) for owner, after_it in filter(None, spans))
        if len(covering) < len(spans):
            said = replace(answer, rcode=Rcode.NOERROR, proof=Proof.NO_DATA, types=frozenset())
            said, denials = self._denied(self.unsigned(said, qtype, wall_s), qtype, wall_s)
            return replace(said, proof=Proof.NO_NAME), denials
        return answer, covering

    def _nsec(self, answer: ZoneAnswer, name: Labels, types: frozenset[int], wall_s: float) -> Rrset:
        """At a name that exists, or is said to."""
        if name == self.apex:
            types |= {each for each in _ALL_KEYS_SIGN if self._key_rdatas(each, wall_s)}
        elif Rrtype.NS in types:
            types &= _AT_DELEGATION  # everything else there belongs to the zone below (RFC 4035 2.3)
        return self._nsec_of(answer, name, after(name, self.apex), types)

    def _nsec_of(self, answer: ZoneAnswer, owner: Labels, next_name: Labels, types: frozenset[int]) -> Rrset:
        """It may be kept for as long as the answer that it proves (RFC 9077 3), which its SOA says."""
        soa_ttls = (rrset.ttl_s for rrset in answer.authority if rrset.rrtype == Rrtype.SOA)
        ttl_s = min((self._negative_ttl_s, *soa_ttls))
        return Rrset(owner, Rrtype.NSEC, ttl_s, (nsec_rdata(next_name, types | {Rrtype.NSEC, Rrtype.RRSIG}),))

    def _section(self, rrsets: Sequence[Rrset], memo: SignatureMemo, wall_s: float) -> tuple[Rrset, ...]:
        """Each with its signatures behind it."""
        section: list[Rrset] = []
        renamed: list[Labels] = []
        for rrset in rrsets:
            section.append(rrset)
            if rrset.rrtype == Rrtype.DNAME:
                renamed.append(rrset.owner)
            elif rrset.rrtype == Rrtype.CNAME and any(_is_below(rrset.owner, owner) for owner in renamed):
                continue  # made from the DNAME, by which resolvers make it too (RFC 6672 5.3.1)
            if self._is_own(rrset):
                section.append(self._rrsigs(rrset, memo, wall_s))
        return tuple(section)

    def _is_own(self, rrset: Rrset) -> bool:
        """Whether the zone signs it: not what belongs to another zone, nor the NS records of one below."""
        if rrset.owner == self.apex:
            return rrset.rrtype != Rrtype.RRSIG
        return rrset.rrtype not in (Rrtype.NS, Rrtype.RRSIG) and _is_below(rrset.owner, self.apex)

    def _rrsigs(self, rrset: Rrset, memo: SignatureMemo, wall_s: float) -> Rrset:
        ordered = rrset
        if len(rrset.rdatas) > 1:  # their order in answers is no matter
            ordered = Rrset(rrset.owner, rrset.rrtype, rrset.ttl_s, tuple(sorted(set(rrset.rdatas))))
        keys = self._keys if rrset.rrtype in _ALL_KEYS_SIGN and rrset.owner == self.apex else (self._signing,)
        return Rrset(rrset.owner, Rrtype.RRSIG, rrset.ttl_s, tuple(self._rrsig(k, ordered, memo, wall_s) for k in keys))

    def _rrsig(self, key: ZoneKey, rrset: Rrset, memo: SignatureMemo, wall_s: float) -> bytes:
        memo_key = (key.key_id, rrset)
        found = memo.find(memo_key, wall_s)
        if found is None:
            found = self._sign(key, rrset, wall_s)
            memo.keep(memo_key, found)
        return found.rrsig

    def _sign(self, key: ZoneKey, rrset: Rrset, wall_s: float) -> Signed:
        """RFC 4034 3.1.8.1. Rdata is in canonical form already, and in order."""
        owner = wire_of(rrset.owner)
        now = int(wall_s)
        from_s = now - SKEW_S
        until_s = now + VALID_S + crc32(owner, rrset.rrtype) % JITTER_S
        labels = len(rrset.owner) - (rrset.owner[:1] == (b"*",))
        head = _RRSIG_HEAD.pack(
            rrset.rrtype, ALGORITHM, labels, rrset.ttl_s, until_s & 0xFFFF_FFFF, from_s & 0xFFFF_FFFF, key.key_tag
        )
        head += self._signer
        records = (
            owner + _RECORD_TAIL.pack(rrset.rrtype, IN, rrset.ttl_s, len(rdata)) + rdata for rdata in rrset.rdatas
        )
        signature = key.signature(head + b"".join(records))
        return Signed(head + signature, from_s, until_s - REMAINING_S)


def _is_below(name: Labels, ancestor: Labels) -> bool:
    return len(name) > len(ancestor) and name[len(name) - len(ancestor) :] == ancestor
