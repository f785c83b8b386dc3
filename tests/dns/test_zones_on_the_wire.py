"""What zones answer, through the whole answer path, as dnspython reads it."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from cdn.dns.answer import AnswerSettings, Responder
from cdn.dns.name import Labels
from cdn.dns.transport import Transport
from cdn.dns.zone_answer import AuthoritativeZone
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_tree import ZoneTree
from tests.dns.test_zone_scenarios import CDN_ZONE, Scenario, scenarios, site_names
from tests.dns.told_answers import labels


class OneZone:
    """Nothing but one zone."""

    def __init__(self, zone: AuthoritativeZone) -> None:
        self.generation: object = object()
        self._zone = zone

    def zone_of(self, labels: Labels, qtype: int) -> AuthoritativeZone | None:
        apex = self._zone.apex
        return self._zone if labels[-len(apex) :] == apex else None


def asked(scenario: Scenario, *, is_dnssec_ok: bool) -> dns.message.Message:
    made = read_zone_file(scenario.zone, file=scenario.file, cdn_zone=CDN_ZONE)
    zones = OneZone(ZoneTree(labels(made.zone), made.rrsets, site_names()))
    name, qtype = scenario.question.split()
    query = dns.message.make_query(name + ".", "TYPE65401" if qtype == "ALIAS" else qtype, want_dnssec=is_dnssec_ok)
    response = Responder(zones, None, AnswerSettings()).answer(query.to_wire(), "192.0.2.7", Transport.TCP, 0.0)
    assert response is not None
    return dns.message.from_wire(response)


def section(rrsets: list[dns.rrset.RRset]) -> set[str]:
    told = set()
    for rrset in rrsets:
        for rdata in rrset:
            line = f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
            told.add(line if rrset.rdtype != dns.rdatatype.SOA else f"{rrset.name} {rrset.ttl} SOA")
    return told


@pytest.mark.parametrize("is_dnssec_ok", [False, True])
@pytest.mark.parametrize("scenario", list(scenarios()), ids=lambda each: f"{each.file}-{each.question[:60]}")
def test_a_client_reads_what_is_written(scenario: Scenario, *, is_dnssec_ok: bool) -> None:
    response = asked(scenario, is_dnssec_ok=is_dnssec_ok)
    head, *lines = scenario.expected
    assert dns.rcode.to_text(response.rcode()) == head.split()[0]
    assert bool(response.flags & dns.flags.AA) == head.endswith(" aa")
    for name, rrsets in (
        ("answer", response.answer),
        ("authority", response.authority),
        ("additional", response.additional),
    ):
        expected = {line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")}
        if name == "authority" and not is_dnssec_ok:
            expected = {line for line in expected if " DS " not in line}  # RFC 3225 3
        assert section(rrsets) == expected
