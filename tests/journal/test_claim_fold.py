"""What the records of claims add up to, whichever way they race with sites and domains."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.claim_fold import Claim, ClaimFold
from cdn.journal.fold import Fold
from cdn.journal.record import (
    DNS_AUDIENCES,
    EDGE_AUDIENCES,
    EVERY_AUDIENCE,
    Audience,
    Change,
    ClaimRemoved,
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    DomainVerified,
    Record,
    SiteCreated,
    SiteRemoved,
    audience_of,
    version_of,
)
from cdn.journal.snapshot import Snapshot, UnreadableSnapshot, decode, encode, load_into, take

WWW = "www.example.com"
BLOG, SHOP = SiteCreated("s1", "blog", {}), SiteCreated("s2", "shop", {})


class Folds:
    """The catalog, and the claims after it."""

    def __init__(self, *changes: Change) -> None:
        self.catalog = CatalogFold("cdn.localhost")
        self.claims = ClaimFold(self.catalog.catalog)
        self.sequence = 0
        self.apply(*changes)

    @property
    def all(self) -> tuple[Fold, ...]:
        return (self.catalog, self.claims)

    def apply(self, *changes: Change) -> None:
        for change in changes:
            self.sequence += 1
            at = 100.0 + self.sequence
            audience = audience_of(change)
            record = Record(version_of(change), "e", self.sequence, "subject", at, "ann", audience, change)
            for fold in self.all:
                fold.apply(record)


def test_each_site_has_its_claim_and_the_verified_one_ends_them_all() -> None:
    folds = Folds(BLOG, SHOP, DomainClaimed(WWW, "s1", "a"), DomainClaimed(WWW, "s2", "b", "example.com"))
    claims = folds.claims
    assert claims.of_domain(WWW) == (
        Claim(WWW, "s1", "a", "", 103.0, 3),
        Claim(WWW, "s2", "b", "example.com", 104.0, 4),
    )
    assert claims.of_site("s2") == (claims.claim(WWW, "s2"),)
    assert (len(claims), claims.proof(WWW)) == (2, None)
    folds.apply(DomainVerified(WWW, "s2"))
    assert (claims.claims(), len(claims)) == ((), 0)
    assert claims.proof(WWW) == Claim(WWW, "s2", "b", "", 104.0, 4)


def test_a_claim_that_is_repeated_keeps_its_age() -> None:
    folds = Folds(BLOG, DomainClaimed(WWW, "s1", "a"), DomainClaimed(WWW, "s1", "a", "example.com"))
    assert folds.claims.claims() == (Claim(WWW, "s1", "a", "example.com", 102.0, 2),)


def test_another_redirect_leaves_the_proof() -> None:
    folds = Folds(BLOG, DomainClaimed(WWW, "s1", "a"), DomainVerified(WWW, "s1"))
    folds.apply(DomainVerified(WWW, "s1", "example.com"))
    assert folds.claims.proof(WWW) == Claim(WWW, "s1", "a", "example.com", 102.0, 2)
    folds.apply(DomainRemoved(WWW, "s2"))
    assert folds.claims.proof(WWW) is not None, "it is not the domain of that site"
    folds.apply(DomainRemoved(WWW, "s1"))
    assert folds.claims.proofs() == ()


def test_a_domain_that_goes_to_another_site_has_the_proof_of_that() -> None:
    folds = Folds(BLOG, SHOP, DomainClaimed(WWW, "s1", "a"), DomainVerified(WWW, "s1"), DomainClaimed(WWW, "s2", "b"))
    folds.apply(DomainVerified(WWW, "s2"))
    proof = folds.claims.proof(WWW)
    assert (proof and proof.site_id, folds.catalog.catalog.domain_owner(WWW)) == ("s2", "s2")
    folds.apply(DomainVerified(WWW, "s1"))
    assert folds.claims.proof(WWW) is None, "on somebody's word, and no token shows it"


def test_an_administrators_word_ends_claims_and_has_no_proof() -> None:
    folds = Folds(BLOG, SHOP, DomainClaimed(WWW, "s1", "a"), DomainClaimed(WWW, "s2", "b"), DomainAdded(WWW, "s1"))
    assert (folds.claims.claims(), folds.claims.proofs()) == ((), ())
    folds = Folds(BLOG, SHOP, DomainClaimed(WWW, "s1", "a"), DomainVerified(WWW, "s1"), DomainAdded(WWW, "s2"))
    assert folds.claims.proof(WWW) is not None, "that came too late"
    folds.apply(DomainClaimed(WWW, "s2", "b"), DomainAdded(WWW, "s1"))
    assert folds.claims.proof(WWW) is not None


def test_what_came_after_its_site_was_gone_counts_for_nothing() -> None:
    folds = Folds(BLOG, SHOP, DomainClaimed(WWW, "s1", "a"), DomainClaimed(WWW, "s2", "b"), DomainVerified(WWW, "s1"))
    folds.apply(DomainClaimed("b.example.com", "s1", "c"), SiteRemoved("s1"))
    assert (folds.claims.claims(), folds.claims.proofs()) == ((), ())
    folds.apply(DomainClaimed(WWW, "s1", "d"), DomainClaimed(WWW, "s2", "e"), DomainVerified(WWW, "s1"))
    assert [claim.token for claim in folds.claims.claims()] == ["e"]
    folds.apply(ClaimRemoved(WWW, "s1"), ClaimRemoved("never.example.com", "s2"), ClaimRemoved(WWW, "s2"))
    assert folds.claims.dump() is None


def test_changes_say_that_something_is_another() -> None:
    folds = Folds(BLOG)
    assert folds.claims.changes == 0
    for change in (
        DomainClaimed(WWW, "s1", "a"),
        DomainVerified(WWW, "s1"),
        DomainRemoved(WWW, "s1"),
        SiteRemoved("s"),
    ):
        before = folds.claims.changes
        folds.apply(change)
        assert folds.claims.changes > before


_SITES = st.sampled_from(["s1", "s2"])
_NAMES = st.sampled_from([WWW, "example.com", "*.example.com"])
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.sampled_from([BLOG, SHOP]),
    st.builds(SiteRemoved, _SITES),
    st.builds(DomainClaimed, _NAMES, _SITES, st.sampled_from("abc"), st.sampled_from(["", "example.com"])),
    st.builds(ClaimRemoved, _NAMES, _SITES),
    st.builds(DomainAdded, _NAMES, _SITES),
    st.builds(DomainVerified, _NAMES, _SITES, st.sampled_from(["", WWW])),
    st.builds(DomainRemoved, _NAMES, _SITES),
)


@given(st.lists(_CHANGES, max_size=25), st.integers(0, 25))
def test_a_snapshot_in_between_changes_nothing_and_proofs_are_of_who_has_the_domain(
    changes: Sequence[Change], cut: int
) -> None:
    whole, resumed = Folds(*changes), Folds(*changes[:cut])
    snapshot = take(resumed.all, Position("e", cut), floor_horizon=0, audiences=EVERY_AUDIENCE)
    sequence, resumed = resumed.sequence, Folds(BLOG, DomainClaimed("left.example", "s1", "over"))
    load_into(decode(encode(snapshot)), resumed.all)
    resumed.sequence = sequence
    resumed.apply(*changes[cut:])
    assert [fold.dump() for fold in resumed.all] == [fold.dump() for fold in whole.all]
    catalog = whole.catalog.catalog
    assert all(catalog.domain_owner(proof.domain) == proof.site_id for proof in whole.claims.proofs())
    assert all(catalog.site(claim.site_id) is not None for claim in whole.claims.claims())
    by_site = [claim for site_id in ("s1", "s2") for claim in whole.claims.of_site(site_id)]
    assert len(whole.claims) == len(by_site)
    assert set(by_site) == set(whole.claims.claims())


@pytest.mark.parametrize(
    "section", [{}, [], 1, {"claims": [["a"]], "proofs": []}, {"claims": [], "proofs": [], "x": 1}]
)
def test_a_section_that_is_not_understood_is_refused_and_changes_nothing(section: object) -> None:
    folds = Folds(BLOG, DomainClaimed(WWW, "s1", "a"))
    with pytest.raises(UnreadableSnapshot, match="claims"):
        load_into(Snapshot(3, Position("e", 1), 0, {"claims": section}), (folds.claims,))
    assert len(folds.claims) == 1


def test_nobody_but_control_is_given_claims() -> None:
    folds = Folds(BLOG, DomainClaimed(WWW, "s1", "a"))
    assert folds.claims.audience is Audience.CONTROL
    snapshot = take(folds.all, Position("e", 2), floor_horizon=0, audiences=DNS_AUDIENCES)
    assert (set(snapshot.sections), snapshot.version) == ({"catalog"}, 1)


def test_a_program_that_knows_no_redirects_is_not_given_a_snapshot_with_one() -> None:
    """It would answer what it should send on, and leave that out of its own snapshots."""
    folds = Folds(BLOG, DomainVerified(WWW, "s1"))
    assert take(folds.all, Position("e", 2), floor_horizon=0, audiences=EDGE_AUDIENCES).version == 1
    folds.apply(DomainVerified(WWW, "s1", "example.com"))
    assert take(folds.all, Position("e", 3), floor_horizon=0, audiences=EDGE_AUDIENCES).version == 3
