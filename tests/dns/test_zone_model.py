"""Random zones, every question: the tree says what the plain model of the RFCs says."""

from __future__ import annotations

import re
from itertools import product

import dns.name
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from cdn.dns.site_names import SiteNames
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_tree import ZoneTree
from cdn.errors import InvalidInput
from cdn.sites.catalog import Catalog
from tests.dns.plain_zone import PlainRecord, PlainZone
from tests.dns.told_answers import CLIENT, labels, records, rrtype

APEX = "zz."
LABELS = ("a", "b", "*")
NAMES = ["zz.", *(".".join((*of, APEX)) for depth in (1, 2, 3) for of in product(LABELS, repeat=depth))]
QUESTIONS = [*NAMES, *(f"{deep}.{name}" for deep in ("c", "c.c") for name in NAMES)]
TYPES = ("A", "AAAA", "TXT", "NS", "MX", "CNAME", "DNAME", "DS", "SOA", "ANY")
SOA = PlainRecord(dns.name.from_text(APEX), 300, "SOA", "a.zz. b.zz. 1 2 3 4 60")

names = st.sampled_from(NAMES)
targets = st.sampled_from([*NAMES, "c.a.zz.", "ns.other."])
records_of = {
    "A": st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    "AAAA": st.just("2001:db8::1"),
    "TXT": st.just('"t"'),
    "NS": targets,
    "MX": targets.map(lambda name: f"10 {name}"),
    "CNAME": targets,
    "DNAME": targets,
    "DS": st.just("1 13 2 " + "00" * 32),
}
lines = st.sampled_from(sorted(records_of)).flatmap(
    lambda of: st.builds(
        lambda owner, rdata: PlainRecord(dns.name.from_text(owner), 60 + len(of), of, rdata), names, records_of[of]
    )
)


def without_faults(found: list[PlainRecord]) -> list[PlainRecord]:
    """The records that are left when the lines that faults name are taken out, again and again."""
    while True:
        text = "\n".join(each.text() for each in found)
        try:
            read_zone_file(text, file="z", cdn_zone="cdn.test", name=APEX)
        except InvalidInput as exc:
            details = exc.details
        else:
            return found
        wrong = {int(number) for detail in details for number in re.findall(r"\Az:(\d+): ", detail)}
        left = [each for number, each in enumerate(found, start=1) if number not in wrong or number <= 2]
        assert len(left) < len(found), (text, details)
        found = left


zones_found = st.lists(lines, max_size=14, unique=True)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(zones_found, st.data())
def test_the_tree_says_what_the_model_says(found: list[PlainRecord], data: st.DataObject) -> None:
    compare(found, data.draw(st.lists(st.sampled_from(QUESTIONS), min_size=12, max_size=12, unique=True)))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(deadline=None, max_examples=2_000, suppress_health_check=list(HealthCheck))
@given(zones_found)
def test_the_tree_says_what_the_model_says_of_every_name(found: list[PlainRecord]) -> None:
    compare(found, QUESTIONS)


def compare(found: list[PlainRecord], qnames: list[str]) -> None:
    """All types of some names in the zone that is made of the records that were found."""
    server = PlainRecord(dns.name.from_text(APEX), 62, "NS", "ns.other.")
    zone = without_faults([SOA, server, *(each for each in found if each != server)])
    note("\n".join(each.text() for each in zone))
    read = read_zone_file("\n".join(each.text() for each in zone), file="z", cdn_zone="cdn.test", name=APEX)
    tree = ZoneTree(labels(APEX), read.rrsets, SiteNames(Catalog("cdn.test"), 30))
    model = PlainZone(dns.name.from_text(APEX), zone)
    for qname, qtype in product(qnames, TYPES):
        said = tree.answer(labels(qname), rrtype(qtype), CLIENT)
        expected = model.answer(dns.name.from_text(qname), qtype)
        asked = f"{qname} {qtype}"
        assert said.rcode.name == expected.rcode, asked
        assert said.is_authoritative == expected.is_authoritative, asked
        assert records(said.answer) == expected.answer, asked
        assert records(said.authority) == expected.authority, asked
        assert set(records(said.additional)) == expected.additional, asked
        assert said.proof.value == expected.proof, asked
        if expected.encloser is not None:
            assert said.closest_encloser == expected.encloser.labels[:-1], asked
