"""Which zone a name is in, and when answers may have changed."""

from __future__ import annotations

import msgspec
import pytest

from cdn.dns.choice import Family
from cdn.dns.client import Client
from cdn.dns.site_addresses import Chosen
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_book import ZoneBook
from cdn.dns.zone_file import read_zone_file
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import (
    Audience,
    ChallengeRemoved,
    ChallengeSet,
    Change,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    GeographySet,
    Purged,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    Withheld,
    ZoneKeysSet,
    ZoneRecords,
    ZoneRemoved,
    ZoneSet,
)
from cdn.journal.zone_fold import ZoneFold
from cdn.sites.site import Site
from tests.dns.test_edge_zone import ZONE, edge_zone
from tests.dns.told_answers import CLIENT, labels, rrtype, told


def zone_set(name: str, *lines: str) -> ZoneSet:
    text = "\n".join(("$TTL 300", "@ SOA ns.o. h 1 2 3 4 5", "@ NS ns.o.", *lines))
    return read_zone_file(text, file="z", cdn_zone=ZONE, name=name)


class NoNode:
    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        return None


class Book:
    """A book with its folds, and a journal that has nothing but what is told."""

    def __init__(self, *, is_loaded: bool = True) -> None:
        self.catalog, self.zones = CatalogFold(ZONE), ZoneFold()
        sites = SiteNames(self.catalog.catalog, 30)
        self.edge = edge_zone(names=sites)
        self.book = ZoneBook(self.edge, sites, self.zones)
        self.book.choose(NoNode())
        self.sequence = 0
        self.book.journal_loaded(Position("e", 0) if is_loaded else None, 0.0)

    def apply(self, *changes: Change, wall_s: float = 0.0) -> bool:
        """Whether the generation is another one."""
        before, records = self.book.generation, []
        for change in changes:
            self.sequence += 1
            record = Record(2, "e", self.sequence, "s", wall_s, "a", Audience.ALL, change)
            self.catalog.apply(record)
            self.zones.apply(record)
            records.append(record)
        self.book.journal_applied(records, Position("e", self.sequence), wall_s)
        return self.book.generation is not before

    def ask(self, name: str, qtype: str) -> list[str] | None:
        zone = self.book.zone_of(labels(name), rrtype(qtype))
        return None if zone is None else told(zone.answer(labels(name), rrtype(qtype), CLIENT))

    def apex_of(self, name: str, qtype: str = "A") -> str | None:
        zone = self.book.zone_of(labels(name), rrtype(qtype))
        return None if zone is None else ".".join(label.decode() for label in zone.apex)


def test_a_name_is_in_the_longest_zone_above_it() -> None:
    book = Book()
    book.apply(zone_set("example.com"), zone_set("sub.example.com"), zone_set("test"))
    expected = {
        "example.com": "example.com",
        "www.example.com": "example.com",
        "sub.example.com": "sub.example.com",
        "x.sub.example.com": "sub.example.com",
        "xsub.example.com": "example.com",
        "cdn.test": "cdn.test",
        "blog.cdn.test": "cdn.test",
        "other.test": "test",
        "com": None,
        "example.org": None,
        ".": None,
    }
    assert {name: book.apex_of(name) for name in expected} == expected


def test_ds_is_asked_of_the_zone_above_where_that_one_delegates() -> None:
    book = Book()
    book.apply(zone_set("sub.example.com"))
    assert book.apex_of("sub.example.com", "DS") == "sub.example.com"
    book.apply(zone_set("example.com", "sub NS ns.o."))
    assert book.apex_of("sub.example.com", "DS") == "example.com"
    assert book.apex_of("x.sub.example.com", "DS") == "sub.example.com"
    # a zone above that does not know of it would deny it
    book.apply(zone_set("example.com"))
    assert book.apex_of("sub.example.com", "DS") == "sub.example.com"
    book.apply(zone_set("y.cdn.test"))
    assert book.apex_of("y.cdn.test", "DS") == "y.cdn.test"


def test_a_zone_comes_changes_and_goes() -> None:
    book = Book()
    assert book.ask("www.example.com", "A") is None
    assert book.apply(zone_set("example.com", "www A 192.0.2.1"))
    assert book.ask("www.example.com", "A") == ["NOERROR aa", "answer www.example.com. 300 A 192.0.2.1"]
    unchanged = book.book.zone_of(labels("example.com"), 1)
    book.apply(zone_set("example.org"))
    assert book.book.zone_of(labels("example.com"), 1) is unchanged
    assert book.apply(zone_set("example.com", "www A 192.0.2.2"))
    assert book.ask("www.example.com", "A") == ["NOERROR aa", "answer www.example.com. 300 A 192.0.2.2"]
    assert book.apply(ZoneRemoved("example.com"))
    assert book.ask("www.example.com", "A") is None


def test_of_a_zone_that_cannot_be_understood_the_former_is_answered() -> None:
    book = Book()
    book.apply(zone_set("example.com", "www A 192.0.2.1"))
    for wrong in (ZoneRecords("example.com", 1, 5, ("!",)), ZoneRecords("example.com", 16, 5, ("AA==",))):
        book.apply(ZoneSet("example.com", (wrong,)), ZoneSet("new.example", (wrong,)))
        assert set(book.book.faults) == {"example.com", "new.example"}
        assert book.ask("www.example.com", "A") == ["NOERROR aa", "answer www.example.com. 300 A 192.0.2.1"]
        assert book.ask("new.example", "A") is None
    book.apply(ZoneRemoved("new.example"), zone_set("example.com"))
    assert book.book.faults == {}
    assert book.ask("www.example.com", "A") == [
        "NXDOMAIN aa",
        "authority example.com. 5 SOA",
        "proof no-name www.example.com. below example.com.",
    ]


def test_challenges_count_until_they_are_over() -> None:
    book = Book()
    book.apply(zone_set("example.com", "*.w A 192.0.2.1", "_acme-challenge TXT own", "c.d CNAME x"))
    name = "_acme-challenge.a.w.example.com"
    assert book.apply(ChallengeSet(name, "one", 100.0), ChallengeSet(name, "two", 50.0))
    assert book.apply(ChallengeSet("_acme-challenge.example.com", "x" * 300, 70.0), ChallengeSet("a..b", "x", 70.0))
    assert book.apply(ChallengeSet("c.d.example.com", "hidden", 70.0), ChallengeSet("deep.gone.example.com", "x", 70.0))
    assert book.ask(name, "TXT") == ["NOERROR aa", f'answer {name}. 10 TXT "one"', f'answer {name}. 10 TXT "two"']
    # a wildcard still stands for what is above a challenge
    assert (book.ask("a.w.example.com", "A") or [])[1] == "answer a.w.example.com. 300 A 192.0.2.1"
    assert book.ask("gone.example.com", "A") == [
        "NOERROR aa",
        "authority example.com. 5 SOA",
        "proof no-data gone.example.com. below gone.example.com.",
    ]
    assert (book.ask("x.gone.example.com", "A") or [])[2] == "proof no-name x.gone.example.com. below gone.example.com."
    assert (book.ask("c.d.example.com", "TXT") or [])[1] == "answer c.d.example.com. 300 CNAME x.example.com."
    parts = f'"{"x" * 255}" "{"x" * 45}"'
    assert book.ask("_acme-challenge.example.com", "TXT") == [
        "NOERROR aa",
        'answer _acme-challenge.example.com. 10 TXT "own"',
        f"answer _acme-challenge.example.com. 10 TXT {parts}",
    ]
    before = book.book.generation
    book.book.expire(49.9)
    assert book.book.generation is before
    book.book.expire(50.0)
    assert book.book.generation is not before
    assert book.ask(name, "TXT") == ["NOERROR aa", f'answer {name}. 10 TXT "one"']
    assert book.apply(ChallengeRemoved(name, "one"), wall_s=50.0)
    assert (book.ask(name, "TXT") or [])[1] == "authority example.com. 5 SOA"
    book.book.expire(1000.0)
    assert book.ask("gone.example.com", "A") == [
        "NXDOMAIN aa",
        "authority example.com. 5 SOA",
        "proof no-name gone.example.com. below example.com.",
    ]
    # a zone that comes later has them too
    assert book.apply(ChallengeSet("a.example.org", "x", 2000.0), wall_s=1000.0)
    book.apply(zone_set("example.org"), wall_s=1000.0)
    assert (book.ask("a.example.org", "TXT") or [])[1] == 'answer a.example.org. 10 TXT "x"'


@pytest.mark.parametrize(
    ("change", "may_change_answers"),
    [
        (SiteCreated("s1", "blog", {}), True),
        (SiteChanged("s1", {}), True),
        (SiteRemoved("s1"), True),
        (DeployPrepared("s1", "d1", "next", "0" * 64, 1, 1, "", ""), True),
        (DeployPrepared("s1", "d1", "production", "0" * 64, 1, 1, "", ""), False),
        (DeployActivated("s1", "next", "d1"), True),
        (DeployActivated("s1", "production", "d1"), False),
        (DomainAdded("example.com", "s1"), False),
        (Purged("s1", (), False), False),
        (Withheld(), False),
        (GeographySet("", 0, ""), False),
        (ZoneKeysSet("example.com", ()), True),
        (ZoneRemoved("example.com"), True),
        (ChallengeRemoved("a.b", "x"), True),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, msgspec.Struct) else "",
)
def test_only_what_can_change_answers_begins_a_generation(change: Change, may_change_answers: bool) -> None:
    book = Book()
    book.apply(SiteCreated("s0", "first", {}))
    assert book.apply(change) is may_change_answers
    assert book.edge.serial == (2 if may_change_answers else 1)


def test_a_batch_has_the_serial_of_its_last_change_of_answers() -> None:
    book = Book()
    assert book.apply(SiteCreated("s0", "a", {}), SiteCreated("s1", "b", {}), Purged("s1", (), False))
    assert book.edge.serial == 2


def test_a_book_without_a_journal_denies_nothing() -> None:
    book = Book(is_loaded=False)
    assert book.ask("blog.cdn.test", "A") == ["SERVFAIL"]
    assert book.ask("example.com", "A") is None
    assert book.apply(Purged("s1", (), False))  # the first word of it
    assert book.ask("blog.cdn.test", "TXT") == [
        "NXDOMAIN aa",
        "authority cdn.test. 10 SOA",
        "proof no-name blog.cdn.test. below cdn.test.",
    ]
    book.book.journal_loaded(None, 0.0)
    assert book.ask("blog.cdn.test", "A") == ["SERVFAIL"]


def test_another_choice_begins_a_generation_and_the_same_does_not() -> None:
    book = Book()
    chosen, before = NoNode(), book.book.generation
    book.book.choose(chosen)
    after = book.book.generation
    assert after is not before
    book.book.choose(chosen)
    assert book.book.generation is after


def test_of_a_snapshot_only_zones_that_are_others_are_read() -> None:
    book, other = Book(), Book()
    for each in (book, other):
        each.apply(zone_set("example.com", "www A 192.0.2.1"), zone_set("example.net", "www A 192.0.2.1"))
    other.apply(zone_set("example.net", "www A 192.0.2.2"))
    before = {name: book.book.zone_of(labels(name), rrtype("A")) for name in ("example.com", "example.net")}
    book.zones.load(other.zones.dump())
    book.book.journal_loaded(Position("f", 77), 0.0)
    after = {name: book.book.zone_of(labels(name), rrtype("A")) for name in before}
    assert [after[name] is before[name] for name in before] == [True, False]
    assert book.ask("www.example.net", "A") == ["NOERROR aa", "answer www.example.net. 300 A 192.0.2.2"]


def test_a_snapshot_begins_a_generation_with_everything_in_it() -> None:
    book, other = Book(), Book()
    other.apply(zone_set("example.com", "www A 192.0.2.1"), ChallengeSet("a.example.com", "x", 9.0))
    book.zones.load(other.zones.dump())
    before = book.book.generation
    book.book.journal_loaded(Position("f", 77), 0.0)
    assert book.book.generation is not before
    assert book.edge.serial == 77
    assert book.ask("www.example.com", "A") == ["NOERROR aa", "answer www.example.com. 300 A 192.0.2.1"]
    assert (book.ask("a.example.com", "TXT") or [])[1] == 'answer a.example.com. 10 TXT "x"'
