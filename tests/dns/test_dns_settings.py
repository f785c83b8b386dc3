"""What a DNS process can be told, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdn.dns.name import labels_of
from cdn.dns.settings import DnsSettings
from cdn.dns.zone import NameServer
from cdn.errors import InvalidInput

ZONE = "cdn.example.net"


def settings(**changed: Any) -> DnsSettings:
    told: dict[str, Any] = {
        "dns_id": "ns-1",
        "data_dir": Path("/nowhere"),
        "zone": ZONE,
        "control_url": "http://c1",
        "token": "cdn_a_b",
        "name_servers": ("ns.example.org",),
        "hostmaster": "people@example.net",
    }
    return DnsSettings(**{**told, **changed})


def test_the_zone_that_settings_describe() -> None:
    told = settings(
        name_servers=(f"NS1.{ZONE}. 192.0.2.53  2001:db8::53", "ns.example.org"),
        hostmaster="dns.people@Example.net",
        soa_ttl_s=60,
        other_control_urls=("http://c2",),
    )
    zone = told.made_zone()
    assert zone.apex == (b"cdn", b"example", b"net")
    assert zone.servers[0] == NameServer(
        labels_of(f"ns1.{ZONE}"), (b"\xc0\x00\x02\x35",), (bytes.fromhex("20010db8" + "0" * 22 + "53"),)
    )
    assert zone.servers[1] == NameServer(labels_of("ns.example.org"))
    assert zone.mailbox == (b"dns.people", b"example", b"net")
    assert (zone.times.ttl_s, zone.times.negative_ttl_s) == (60, 10)
    assert told.control_urls == ("http://c1", "http://c2")
    assert (told.replica_path.name, told.fleet_path.name) == ("replica.db", "fleet.json")


@pytest.mark.parametrize(
    ("changed", "field", "sentence"),
    [
        ({"name_servers": ()}, "name_servers", "name the zone's servers"),
        ({"name_servers": tuple(f"ns{n}.example.org" for n in range(14))}, "name_servers", "1 to 13"),
        ({"name_servers": ("ns.example.org", "NS.example.org.")}, "name_servers", "stands twice"),
        ({"name_servers": (f"ns1.{ZONE}",)}, "name_servers", "write them after it"),
        ({"name_servers": ("ns.example.org 192.0.2.1",)}, "name_servers", "leave them out"),
        ({"name_servers": (f"{ZONE} 192.0.2.1",)}, "name_servers", "is the zone itself"),
        ({"name_servers": (f"ns1.{ZONE} 192.0.2",)}, "name_servers", "is no IP address"),
        ({"name_servers": ("",)}, "name_servers", "empty label"),
        ({"hostmaster": "example.net"}, "hostmaster", "no mail address"),
        ({"hostmaster": "people@net"}, "hostmaster", "single label"),
        ({"hostmaster": "a b@example.net"}, "hostmaster", "no mail address"),
        ({"hostmaster": "é@example.net"}, "hostmaster", "no mail address"),
        ({"hostmaster": "a" * 63 + "@" + ".".join(["b" * 61] * 4)[:250]}, "hostmaster", "longer than a name"),
        ({"answer_nodes": 0}, "answer_nodes", "give 1 to 8"),
        ({"answer_nodes": 9}, "answer_nodes", "give 1 to 8"),
        ({"answer_ttl_s": 604_801}, "answer_ttl_s", "give 1 to 604800"),
        ({"soa_ttl_s": 0}, "soa_ttl_s", "give 1 to 604800"),
        ({"negative_ttl_s": 604_801}, "negative_ttl_s", "give 1 to 604800"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(changed: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as refused:
        settings(**changed)
    assert refused.value.field == field
