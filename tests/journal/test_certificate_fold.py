"""What the records of certificates and answers add up to: facts of names that somebody has, and nothing else."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.position import Position
from cdn.journal import certificate_fold
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import Answer, CertificateFold
from cdn.journal.fold import Fold
from cdn.journal.record import (
    EDGE_AUDIENCES,
    AnswerRemoved,
    AnswerSet,
    CertificateRemoved,
    CertificateSet,
    Change,
    DomainAdded,
    DomainRemoved,
    DomainVerified,
    Record,
    SiteCreated,
    SiteRemoved,
    audience_of,
    version_of,
)
from cdn.journal.replica import Replica
from cdn.journal.snapshot import Snapshot, UnreadableSnapshot, decode, encode, load_into, take

ZONE = "cdn.localhost"
WWW, WILD = "www.example.com", "*.example.com"
BLOG, SHOP = SiteCreated("s1", "blog", {}), SiteCreated("s2", "shop", {})
DAY = 86400.0


def certificate(name: str, site_id: str = "s1", number: int = 1, days: float = 90.0) -> CertificateSet:
    return CertificateSet(
        name=name,
        certificate_id=f"{number:02x}" * 32,
        site_id=site_id,
        names=(name, "other.example.com"),
        not_before=1000.0,
        not_after=1000.0 + days * DAY,
        issuer="https://acme.example/directory",
        chain="PEM",
        sealed_keys={"": "c2VhbGVk"},
    )


class Folds:
    """The catalog, and the certificates after it."""

    def __init__(self, *changes: Change) -> None:
        self.catalog = CatalogFold(ZONE)
        self.certificates = CertificateFold(self.catalog.catalog)
        self.sequence = 0
        self.apply(*changes)

    @property
    def all(self) -> tuple[Fold, ...]:
        return (self.catalog, self.certificates)

    @property
    def names(self) -> list[str]:
        return [facts.name for facts in self.certificates.certificates()]

    def apply(self, *changes: Change) -> None:
        for change in changes:
            self.sequence += 1
            at = 100.0 + self.sequence
            audience = audience_of(change)
            record = Record(version_of(change), "e", self.sequence, "subject", at, "ann", audience, change)
            for fold in self.all:
                fold.apply(record)


def test_a_certificate_takes_the_place_of_the_one_before() -> None:
    folds = Folds(BLOG, DomainAdded(WWW, "s1"), certificate(WWW), certificate(WWW, number=2, days=6))
    (facts,) = folds.certificates.certificates()
    assert (facts.certificate_id, facts.sequence, facts.names) == ("02" * 32, 4, (WWW, "other.example.com"))
    assert facts == folds.certificates.certificate(WWW) == folds.certificates.soonest_end()
    assert len(folds.certificates) == 1
    folds.apply(CertificateRemoved(WWW), CertificateRemoved("never.example.com"))
    assert (folds.names, folds.certificates.soonest_end()) == ([], None)


def test_an_alarm_comes_when_half_of_the_time_for_renewing_is_over() -> None:
    folds = Folds(BLOG, DomainAdded(WWW, "s1"), certificate(WWW, days=6))
    facts = folds.certificates.certificate(WWW)
    assert facts is not None
    assert facts.alarm_at == facts.not_after - DAY
    folds.apply(certificate(WWW, days=365))
    facts = folds.certificates.certificate(WWW)
    assert facts is not None
    assert facts.alarm_at == facts.not_after - 14 * DAY


@pytest.mark.parametrize(
    "loss", [DomainRemoved(WWW, "s1"), DomainVerified(WWW, "s2"), SiteRemoved("s1"), CertificateRemoved(WWW)]
)
def test_a_certificate_goes_with_its_domain(loss: Change) -> None:
    """What one owner brought is never shown for the next."""
    folds = Folds(BLOG, SHOP, DomainAdded(WWW, "s1"), certificate(WWW), loss)
    assert folds.names == []
    folds.apply(certificate(WWW))
    assert folds.names == ([WWW] if isinstance(loss, CertificateRemoved) else []), "recorded too late"


def test_a_certificate_stays_where_its_domain_does() -> None:
    folds = Folds(BLOG, SHOP, DomainAdded(WWW, "s1"), certificate(WWW))
    folds.apply(DomainRemoved(WWW, "s2"), DomainAdded(WWW, "s2"), DomainVerified(WWW, "s1", "example.com"))
    folds.apply(SiteRemoved("s2"))
    assert folds.names == [WWW]


def test_the_own_zones_certificate_is_of_no_site() -> None:
    folds = Folds(BLOG, certificate(f"*.{ZONE}", ""), certificate(ZONE, "s1"), certificate(WWW, "s1"))
    assert folds.names == [f"*.{ZONE}"]
    assert [facts.name for facts in folds.certificates.of_site("")] == [f"*.{ZONE}"]


def test_a_handshake_is_answered_with_its_own_or_the_wildcards_above() -> None:
    folds = Folds(BLOG, DomainVerified(WWW, "s1"), DomainVerified(WILD, "s1"), certificate(WILD))
    choose = folds.certificates.for_host

    def name_for(host: str) -> str | None:
        facts = choose(host)
        return None if facts is None else facts.name

    assert (name_for(WWW), name_for("a.example.com"), name_for("a.b.example.com")) == (WILD, WILD, None)
    assert (name_for("example.com"), name_for("com"), name_for("")) == (None, None, None)
    folds.apply(certificate(WWW), certificate(ZONE, ""))
    assert (name_for(WWW), name_for("")) == (WWW, ZONE)
    folds.apply(certificate(f"*.{ZONE}", ""))
    assert (name_for(""), name_for(f"blog.{ZONE}")) == (f"*.{ZONE}",) * 2


def test_answers_count_until_they_are_over_and_are_forgotten_with_the_next() -> None:
    folds = Folds(
        AnswerSet("http-01", WWW, "t", "t.thumb", 102.5),
        AnswerSet("tls-alpn-01", WWW, "", "digest", 500.0),
    )  # fmt: skip
    certificates = folds.certificates
    assert certificates.answer("http-01", WWW, "t", 102.4) == "t.thumb"
    assert certificates.answer("http-01", WWW, "t", 102.5) is None
    assert certificates.answer("tls-alpn-01", WWW, "", 103.0) == "digest"
    assert certificates.answer("http-01", WWW, "other", 102.0) is None
    assert len(certificates.answers()) == 2
    folds.apply(AnswerSet("http-01", "a.example", "u", "u.thumb", 500.0))
    assert [answer.token for answer in certificates.answers()] == ["u", ""]
    folds.apply(AnswerRemoved("http-01", "a.example", "u"), AnswerRemoved("http-01", "a.example", "u"))
    assert certificates.answers() == (Answer("tls-alpn-01", WWW, "", "digest", 500.0),)


def test_answers_are_bounded_and_the_one_that_ends_first_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_fold, "MAX_ANSWERS", 3)
    folds = Folds(*(AnswerSet("http-01", f"d{number}", "t", "v", 1000.0 - number) for number in range(5)))
    assert [answer.domain for answer in folds.certificates.answers()] == ["d0", "d1", "d4"]


_SITES = st.sampled_from(["s1", "s2"])
_NAMES = st.sampled_from([WWW, WILD, "example.com"])
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.sampled_from([BLOG, SHOP]),
    st.builds(SiteRemoved, _SITES),
    st.builds(DomainAdded, _NAMES, _SITES),
    st.builds(DomainVerified, _NAMES, _SITES),
    st.builds(DomainRemoved, _NAMES, _SITES),
    st.builds(certificate, _NAMES, _SITES, st.integers(1, 9)),
    st.builds(certificate, st.sampled_from([ZONE, f"*.{ZONE}"]), st.just(""), st.integers(1, 9)),
    st.builds(CertificateRemoved, _NAMES),
    st.builds(AnswerSet, st.just("http-01"), _NAMES, st.just("t"), st.just("v"), st.sampled_from([104.0, 900.0])),
    st.builds(AnswerRemoved, st.just("http-01"), _NAMES, st.just("t")),
)


@given(st.lists(_CHANGES, max_size=25), st.integers(0, 25))
def test_a_snapshot_in_between_changes_nothing_and_certificates_are_of_who_has_the_domain(
    changes: Sequence[Change], cut: int
) -> None:
    whole, resumed = Folds(*changes), Folds(*changes[:cut])
    snapshot = take(resumed.all, Position("e", cut), floor_horizon=0, audiences=EDGE_AUDIENCES)
    sequence, resumed = resumed.sequence, Folds(AnswerSet("http-01", "left", "over", "v", 900.0))
    load_into(decode(encode(snapshot)), resumed.all)
    resumed.sequence = sequence
    resumed.apply(*changes[cut:])
    assert resumed.certificates.certificates() == whole.certificates.certificates()
    assert resumed.certificates.answers() == whole.certificates.answers()
    catalog = whole.catalog.catalog
    for facts in whole.certificates.certificates():
        assert (catalog.domain_owner(facts.name) or "") == facts.site_id


@pytest.mark.parametrize(
    "section", [{}, [], 1, {"certificates": [["a"]], "answers": []}, {"certificates": [], "answers": [], "x": 1}]
)
def test_a_section_that_is_not_understood_is_refused_and_changes_nothing(section: object) -> None:
    folds = Folds(BLOG, DomainAdded(WWW, "s1"), certificate(WWW))
    with pytest.raises(UnreadableSnapshot, match="certificates"):
        load_into(Snapshot(3, Position("e", 1), 0, {"certificates": section}), (folds.certificates,))
    assert folds.names == [WWW]


def test_a_snapshot_has_no_chains_and_no_keys() -> None:
    folds = Folds(BLOG, DomainAdded(WWW, "s1"), certificate(WWW))
    snapshot = take(folds.all, Position("e", 3), floor_horizon=0, audiences=EDGE_AUDIENCES)
    assert snapshot.version == 3
    said = str(snapshot.sections)
    assert "01" * 32 in said
    assert "PEM" not in said
    assert "c2VhbGVk" not in said


def test_an_empty_state_needs_no_reader_who_knows_certificates() -> None:
    folds = Folds(BLOG, DomainAdded(WWW, "s1"), certificate(WWW), DomainRemoved(WWW, "s1"))
    assert folds.certificates.dump() is None


def test_a_hundred_thousand_certificates_take_less_than_a_kilobyte_each() -> None:
    """A tenth of them is measured; each process of an edge holds them all."""
    folds = Folds(*(SiteCreated(f"s{number}", f"site-{number}", {}) for number in range(10)))
    names = [f"www.customer-{number:06}.example.com" for number in range(10_000)]
    folds.apply(*(DomainAdded(name, f"s{number % 10}") for number, name in enumerate(names)))
    gc.collect()
    tracemalloc.start()
    folds.apply(*(certificate(name, f"s{number % 10}", number % 256) for number, name in enumerate(names)))
    gc.collect()
    taken_bytes = tracemalloc.get_traced_memory()[0] / len(names)
    tracemalloc.stop()
    assert len(folds.certificates) == len(names)
    assert taken_bytes < 700, "100,000 of them below 100 MB, and well"


async def test_a_nodes_copy_from_before_there_were_certificates_is_gone_on_from(tmp_path: Path) -> None:
    """Its program would have stopped before the first, so there is none behind its snapshot."""
    former = Folds(BLOG, DomainAdded(WWW, "s1"))
    earlier = take((former.catalog,), Position("e", 2), floor_horizon=0, audiences=EDGE_AUDIENCES)
    assert (earlier.version, "certificates" in earlier.sections) == (1, False)
    replica = await Replica.open(tmp_path / "copy.db")
    await replica.load((former.catalog,))
    await replica.replace(earlier)
    await replica.aclose()
    now = Folds()
    replica = await Replica.open(tmp_path / "copy.db")
    assert await replica.load(now.all) == Position("e", 2)
    now.sequence = 2
    change = certificate(WWW)
    record = Record(3, "e", 3, "subject", 103.0, "ann", audience_of(change), change)
    await replica.apply((record,))
    for fold in now.all:
        fold.apply(record)
    await replica.compact()
    await replica.aclose()
    again = Folds()
    replica = await Replica.open(tmp_path / "copy.db")
    assert await replica.load(again.all) == Position("e", 3)
    assert again.names == [WWW]
    await replica.aclose()
