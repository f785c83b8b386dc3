"""What a DNS process can be told, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdn.dns.answering import answer_settings
from cdn.dns.cookie_secret_file import cookie_secrets
from cdn.dns.name import labels_of
from cdn.dns.rate_limit import RateLimits
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
        ({"answer_ttl_min_s": 31}, "answer_ttl_min_s", "more than answer_ttl_s, which is 30"),
        ({"answer_ttl_min_s": 0}, "answer_ttl_min_s", "give 1 to 604800"),
        ({"processes": 0}, "processes", "give 1 to 64"),
        ({"processes": 65}, "processes", "give 1 to 64"),
        ({"full_load": 1.5}, "full_load", "at most 1"),
        ({"nsid": "n" * 129}, "nsid", "at most 128 octets"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(changed: dict[str, Any], field: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as refused:
        settings(**changed)
    assert refused.value.field == field


def test_all_processes_together_keep_to_the_limits() -> None:
    limits = RateLimits(answers_per_s=1000, absences_per_s=3, errors_per_s=1, slip=2, exempt=("192.0.2.0/24",))
    alone = answer_settings(settings(rate_limits=limits, nsid="ns-1"), (b"s" * 16,))
    assert (alone.nsid, alone.rate_limits) == (b"ns-1", limits)
    assert alone.cookies is not None
    of_three = answer_settings(settings(rate_limits=limits, processes=3), (b"s" * 16,))
    assert of_three.rate_limits == replace(limits, answers_per_s=334, absences_per_s=1, errors_per_s=1)
    assert answer_settings(settings(limits_rates=False), (b"s" * 16,)).rate_limits is None


def test_cookie_secrets_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"# now\n{'ab' * 16}  # since May\n\n{'cd' * 16}\n")
    assert cookie_secrets(file) == (b"\xab" * 16, b"\xcd" * 16)
    alone = cookie_secrets(None)
    assert len(alone[0]) == 16
    assert alone != cookie_secrets(None), "one that nobody else has"
    file.write_text("ab\nhunter2")
    with pytest.raises(InvalidInput, match="line 2") as refused:
        cookie_secrets(file)
    assert "hunter2" not in refused.value.message
    with pytest.raises(InvalidInput, match="cannot be read"):
        cookie_secrets(tmp_path / "none")
