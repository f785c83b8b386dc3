"""What a zone says to one question, before it is signed and written."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from cdn.dns.client import Client
from cdn.dns.code import Rcode
from cdn.dns.name import Labels


@dataclass(frozen=True, slots=True)
class Rrset:
    """Records of one owner and type. `rdatas` are in wire form, names in them whole: whoever writes the response
    compresses those of the types that may be (RFC 3597 4)."""

    owner: Labels
    rrtype: int
    ttl_s: int
    rdatas: tuple[bytes, ...]


class Proof(Enum):
    """What has to be proved beside the answer in a signed zone (RFC 4035 3.1.3)."""

    NONE = "none"
    NO_DATA = "no-data"  # the name exists (an empty non-terminal too), the type does not
    NO_NAME = "no-name"  # neither the name nor a wildcard that could stand for it
    WILDCARD = "wildcard"  # the answer comes from a wildcard: the name itself does not exist
    WILDCARD_NO_DATA = "wildcard-no-data"  # it would come from a wildcard that has no such type
    NO_DS = "no-ds"  # a referral to a zone that is not signed


Likeness = Callable[[Client], Hashable]
"""What of a client an answer is made of: clients for whom it gives the same are answered the same."""


def all_alike(client: Client) -> Hashable:
    """The likeness of what everybody is answered."""
    return None


@dataclass(frozen=True, slots=True)
class ZoneAnswer:
    """The sections, complete but for signatures.

    `proof` is about `name`: the question's name, or the last one of a chain of CNAME and DNAME, or the delegated name
    of a referral, whose DS records, where there are some, stand beside its NS records. `closest_encloser` is its
    longest ancestor that exists. `types` are those at the name (or at the wildcard, or at the delegation).
    `scope_prefix`: the answer is the same for all clients who share so many bits with this one; 0: for everybody.
    `likeness` holds for one generation of `Zones` and this question; without it only `scope_prefix` says who is alike.
    """

    rcode: Rcode
    is_authoritative: bool = True
    answer: tuple[Rrset, ...] = ()
    authority: tuple[Rrset, ...] = ()
    additional: tuple[Rrset, ...] = ()
    proof: Proof = Proof.NONE
    name: Labels = ()
    closest_encloser: Labels = ()
    types: frozenset[int] = frozenset()
    scope_prefix: int = 0
    likeness: Likeness | None = field(default=None, compare=False)

    def extended(
        self,
        *,
        answer: tuple[Rrset, ...] = (),
        authority: tuple[Rrset, ...] = (),
        additional: tuple[Rrset, ...] = (),
    ) -> ZoneAnswer:
        """The same with more."""
        return replace(
            self,
            answer=self.answer + answer,
            authority=self.authority + authority,
            additional=self.additional + additional,
        )


class AuthoritativeZone(Protocol):
    """One zone: imported, or the CDN's own whose names are answered by policy."""

    @property
    def apex(self) -> Labels: ...

    def answer(self, labels: Labels, qtype: int, client: Client) -> ZoneAnswer:
        """The answer to a question for `labels`, the apex or below it, in lower case. Raises nothing.

        It neither waits nor walks what it knows. A DS question for the apex belongs to the zone above and is answered
        here only when that one is not here too (RFC 4035 3.1.4.1): as NO_DATA.
        """
        ...


class Zones(Protocol):
    """All zones that this process answers for."""

    @property
    def generation(self) -> object:
        """Another object as soon as any answer may be another one; answers are remembered only within one."""
        ...

    def zone_of(self, labels: Labels, qtype: int) -> AuthoritativeZone | None:
        """The zone that the name is in: of several the longest, but for a DS question at its apex the one above."""
        ...


class Signer(Protocol):
    """Answers as one zone that has keys gives them. What it says is valid for days: whoever remembers it for up to a
    day need not ask how long. In an authoritative answer the additional section has nothing from below a delegation.
    """

    def signed(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        """For a client who set DO: with the signatures and proofs that it needs (RFC 4035 3.1)."""
        ...

    def unsigned(self, answer: ZoneAnswer, qtype: int, wall_s: float) -> ZoneAnswer:
        """For everybody else: the zone's keys are records like others (RFC 4035 3.1, RFC 7344)."""
        ...


class Signers(Protocol):
    """Who signs for which zone."""

    def signer_of(self, apex: Labels) -> Signer | None:
        """None: the zone is not signed."""
        ...
