"""Who wants which domain, and by which token a domain was verified, from the records."""

from __future__ import annotations

from typing import Any

import msgspec

from cdn.journal.record import (
    Audience,
    ClaimRemoved,
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    DomainVerified,
    Record,
    SiteRemoved,
)
from cdn.sites.catalog import Catalog


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """A site's wish to answer `domain`, which holds once `token` is seen in DNS. `claimed_at` is the wall time of the
    record `sequence` that first said so."""

    domain: str
    site_id: str
    token: str
    redirect_to: str
    claimed_at: float
    sequence: int


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    claims: tuple[Claim, ...]
    proofs: tuple[Claim, ...]


class ClaimFold:
    """Claims that are open, by domain and site, and of each domain that was verified by a claim this claim: its token
    is what has to be seen again from time to time.

    A domain that somebody was given without a claim (an administrator's word) has no proof: nothing of it lapses.
    It goes by a `catalog` whose fold stands BEFORE this one among the folds: claims are of sites that exist, and a
    proof is of a domain that the site has.
    """

    name: str = "claims"
    audience: Audience = Audience.CONTROL

    def __init__(self, catalog: Catalog) -> None:
        self.changes = 0
        """Higher as soon as anything here has changed."""
        self._catalog = catalog
        self._claims: dict[str, dict[str, Claim]] = {}
        self._names: dict[str, set[str]] = {}  # claimed domains by site
        self._proofs: dict[str, Claim] = {}

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def claim(self, domain: str, site_id: str) -> Claim | None:
        """The open claim of a site on a domain."""
        return self._claims.get(domain, {}).get(site_id)

    def of_domain(self, domain: str) -> tuple[Claim, ...]:
        """All open claims on a domain, the oldest first."""
        return tuple(self._claims.get(domain, {}).values())

    def of_site(self, site_id: str) -> tuple[Claim, ...]:
        """All open claims of a site, by domain."""
        return tuple(self._claims[domain][site_id] for domain in sorted(self._names.get(site_id, ())))

    def claims(self) -> tuple[Claim, ...]:
        """All that are open, by domain."""
        return tuple(claim for _, claims in sorted(self._claims.items()) for claim in claims.values())

    def proof(self, domain: str) -> Claim | None:
        """The claim by which a domain was verified; None: it was not, or without one."""
        return self._proofs.get(domain)

    def proofs(self) -> tuple[Claim, ...]:
        """All of them, by domain."""
        return tuple(self._proofs[domain] for domain in sorted(self._proofs))

    def apply(self, record: Record) -> None:
        """See `Fold.apply`."""
        match record.change:
            case DomainClaimed() as change:
                self._claim(change, record)
            case ClaimRemoved(domain=domain, site_id=site_id):
                self._drop(domain, site_id)
            case DomainVerified(domain=domain, site_id=site_id, redirect_to=redirect_to):
                self._verify(domain, site_id, redirect_to)
            case DomainAdded(domain=domain, site_id=site_id):
                if self._catalog.domain_owner(domain) == site_id and self.proof(domain) is None:
                    self._give(domain)
            case DomainRemoved(domain=domain):
                if self._catalog.domain_owner(domain) is None:
                    self._proofs.pop(domain, None)
            case SiteRemoved(site_id=site_id):
                self._forget_site(site_id)
            case _:
                return  # other folds' matter
        self.changes += 1

    def dump(self) -> Any:
        """The state as JSON builtins; None when there is none, so that earlier programs can read the snapshot."""
        if not (self._claims or self._proofs):
            return None
        return msgspec.to_builtins(_Section(self.claims(), self.proofs()))

    def load(self, section: Any) -> None:
        """See `Fold.load`. Raises msgspec.MsgspecError, and then nothing has changed."""
        state = _Section((), ()) if section is None else msgspec.convert(section, _Section)
        self._claims, self._names = {}, {}
        for claim in sorted(state.claims, key=lambda each: each.sequence):
            self._keep(claim)
        self._proofs = {claim.domain: claim for claim in state.proofs}
        self.changes += 1

    def _claim(self, change: DomainClaimed, record: Record) -> None:
        if self._catalog.site(change.site_id) is None:
            return
        there = self.claim(change.domain, change.site_id)
        at, sequence = (record.at, record.sequence) if there is None else (there.claimed_at, there.sequence)
        self._keep(Claim(change.domain, change.site_id, change.token, change.redirect_to, at, sequence))

    def _keep(self, claim: Claim) -> None:
        self._claims.setdefault(claim.domain, {})[claim.site_id] = claim
        self._names.setdefault(claim.site_id, set()).add(claim.domain)

    def _verify(self, domain: str, site_id: str, redirect_to: str) -> None:
        if self._catalog.domain_owner(domain) != site_id:
            return  # as the catalog saw it, it was too late
        claim = self.claim(domain, site_id) or self._proofs.get(domain)
        self._give(domain)
        if claim is not None and claim.site_id == site_id:
            self._proofs[domain] = msgspec.structs.replace(claim, redirect_to=redirect_to)

    def _give(self, domain: str) -> None:
        for site_id in tuple(self._claims.get(domain, ())):
            self._drop(domain, site_id)
        self._proofs.pop(domain, None)

    def _drop(self, domain: str, site_id: str) -> None:
        of_domain, of_site = self._claims.get(domain, {}), self._names.get(site_id, set())
        of_domain.pop(site_id, None)
        of_site.discard(domain)
        if not of_domain:
            self._claims.pop(domain, None)
        if not of_site:
            self._names.pop(site_id, None)

    def _forget_site(self, site_id: str) -> None:
        for domain in tuple(self._names.get(site_id, ())):
            self._drop(domain, site_id)
        for domain in [domain for domain, proof in self._proofs.items() if proof.site_id == site_id]:
            del self._proofs[domain]
