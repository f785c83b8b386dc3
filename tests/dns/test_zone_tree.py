"""Corners of imported zones that a scenario does not show."""

from __future__ import annotations

import pytest

from cdn.dns.challenges import Challenges
from cdn.dns.name import MAX_NAME_OCTETS
from cdn.dns.site_names import SiteNames
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_records import read_labels
from cdn.dns.zone_tree import MAX_CHAIN, ZoneTree
from cdn.errors import InvalidInput
from cdn.journal.zone_fold import Challenge
from tests.dns.test_zone_scenarios import CDN_ZONE, site_names
from tests.dns.told_answers import CLIENT, labels, records, rrtype, told

ZONE = "example.com"


def tree(*lines: str, names: SiteNames | None = None) -> ZoneTree:
    text = "\n".join(("$TTL 300", "@ SOA ns.o. h 1 2 3 4 5", "@ NS ns.o.", *lines))
    made = read_zone_file(text, file="z", cdn_zone=CDN_ZONE, name=ZONE)
    return ZoneTree(labels(made.zone), made.rrsets, names or site_names())


def ask(zone: ZoneTree, name: str, qtype: str) -> list[str]:
    return told(zone.answer(labels(f"{name}.{ZONE}"), rrtype(qtype), CLIENT))


def types(zone: ZoneTree, name: str, qtype: str) -> set[int]:
    return set(zone.answer(labels(f"{name}.{ZONE}"), rrtype(qtype), CLIENT).types)


def test_a_denial_names_the_types_that_are_there() -> None:
    ds = "1 13 2 " + "00" * 32
    zone = tree(
        "s ALIAS blog.cdn.example.net.", "s MX 1 o.", "*.w TXT x", "d NS d", "d A 192.0.2.1", "e NS o.", f"e DS {ds}"
    )
    zone.challenges = Challenges([Challenge("s.example.com", "x", 9.0), Challenge("x.w.example.com", "x", 9.0)], 1.0)
    assert types(zone, "s", "CAA") == {1, 28, 15, 16}
    assert types(zone, "s", "AAAA") == {1, 15}  # there is none now
    assert types(zone, "a.w", "A") == {16}
    assert types(zone, "x.w", "A") == {16}
    assert types(zone, "w", "A") == set()
    assert types(zone, "d", "DS") == {2}
    assert types(zone, "www.d", "A") == {2}
    assert types(zone, "www.e", "A") == {2, 43}


def test_a_dname_makes_names_of_up_to_255_octets() -> None:
    zone = tree("d DNAME " + ".".join(["y" * 63] * 2))
    # 64 + 64 for the new end, 13 for the zone: that leaves 114 for what stands before
    octets = MAX_NAME_OCTETS - 64 - 64 - 13
    fits, too_long = ".".join(("x" * 63, "x" * (octets - 65))), ".".join(("x" * 63, "x" * (octets - 64)))
    assert ask(zone, f"{fits}.d", "A")[0] == "NXDOMAIN aa"
    assert len(records(zone.answer(labels(f"{fits}.d.{ZONE}"), 1, CLIENT).answer)) == 2
    assert ask(zone, f"{too_long}.d", "A")[0] == "YXDOMAIN aa"


def test_a_chain_has_so_many_names_and_the_client_asks_for_the_rest() -> None:
    zone = tree(*(f"c{number} CNAME c{number + 1}" for number in range(MAX_CHAIN + 3)), f"c{MAX_CHAIN + 3} A 192.0.2.1")
    said = ask(zone, "c0", "A")
    assert len(said) == 1 + MAX_CHAIN
    assert said[-1] == f"answer c{MAX_CHAIN - 1}.example.com. 300 CNAME c{MAX_CHAIN}.example.com."
    assert ask(zone, f"c{MAX_CHAIN}", "A")[-1] == f"answer c{MAX_CHAIN + 3}.example.com. 300 A 192.0.2.1"


def test_a_chain_to_what_cannot_be_said_is_a_failure() -> None:
    names = site_names()
    names.addresses = None
    zone = tree("www CNAME s", "s ALIAS blog.cdn.example.net.", names=names)
    assert ask(zone, "www", "A") == ask(zone, "s", "A") == ["SERVFAIL"]


def test_the_apex_may_be_a_dname_and_has_its_own_records() -> None:
    zone = tree("@ DNAME example.org.", "@ TXT own")
    assert told(zone.answer(labels(ZONE), 16, CLIENT)) == ["NOERROR aa", 'answer example.com. 300 TXT "own"']
    assert ask(zone, "www", "A")[-1] == "answer www.example.com. 300 CNAME www.example.org."


def test_an_asterisk_is_a_wildcard_as_the_first_label_alone() -> None:
    zone = tree("a.*.b TXT x", "*.a.*.b A 192.0.2.1")
    assert ask(zone, "x.b", "TXT")[-1] == "proof wildcard-no-data x.b.example.com. below b.example.com."
    assert ask(zone, "a.x.b", "TXT")[-1] == "proof wildcard-no-data a.x.b.example.com. below b.example.com."
    assert ask(zone, "c.a.*.b", "A")[1] == "answer c.a.*.b.example.com. 300 A 192.0.2.1"


def test_a_name_in_an_rdata_has_to_end_there() -> None:
    assert read_labels(b"\0\x0a\x01A\0", 2) == (b"a",)
    for wrong in (b"", b"\x01", b"\x01a", b"\x05a\0"):
        with pytest.raises(InvalidInput):
            read_labels(wrong, 0)
