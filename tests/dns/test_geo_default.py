"""The embedded table: there, sound, small, attributed, and good enough for a continent."""

from __future__ import annotations

from array import array
from importlib.resources import files
from ipaddress import ip_address

import pytest

from cdn.dns.client import AddressFamily
from cdn.dns.geo_default import default_table, packed_table, unpacked_table
from cdn.dns.geo_table import Columns
from cdn.dns.geography import NOWHERE, Place
from cdn.errors import InvalidInput


def test_it_is_small_and_sound_and_says_where_it_is_from() -> None:
    assert len((files("cdn.dns") / "data" / "default-geography.bin").read_bytes()) < 2_500_000
    table = default_table()
    table.check()
    assert "DB-IP (https://db-ip.com), CC BY 4.0" in table.summary.source
    assert table.place(NOWHERE) == Place()
    assert default_table() is table


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("193.0.6.139", "NL"),  # the RIPE NCC
        ("133.11.0.1", "JP"),  # the University of Tokyo
        ("18.9.22.69", "US"),  # MIT
        ("200.160.2.3", "BR"),  # nic.br
        ("196.25.1.1", "ZA"),  # Telkom
        ("2001:200::1", "JP"),  # WIDE
        ("2607:f8b0::1", "US"),  # Google
        ("10.1.2.3", ""),
        ("240.0.0.1", ""),
        ("fe80::1", ""),
    ],
)
def test_it_knows_countries(address: str, country: str) -> None:
    parsed = ip_address(address)
    table = default_table()
    family = AddressFamily.IPV4 if parsed.version == 4 else AddressFamily.IPV6
    place = table.place(table.locate(family, int(parsed)).place)
    assert place.country == country
    assert (place.latitude is None) == (country == "")


def test_what_is_packed_is_found_again_and_damage_is_seen() -> None:
    places = [Place(), Place(-33.75, 151.25, "AU", "OC"), Place(country="FR", continent="EU"), Place(0.25, -179.75)]
    ipv4 = Columns(array("I", [0, 5, 2**32 - 1]), array("I", [0, 1, 2]))
    ipv6 = Columns(array("Q", [0, 0x2001 << 48, 0xFFFF << 48]), array("I", [0, 3, 0]))
    packed = packed_table(places, ipv4, ipv6, "somebody's: ©")
    table = unpacked_table(packed)
    assert [table.place(number) for number in range(4)] == places
    assert table.summary.source == "somebody's: ©"
    for family, columns in ((AddressFamily.IPV4, ipv4), (AddressFamily.IPV6, ipv6)):
        ranges = table.ranges(family)
        assert (list(ranges.starts), list(ranges.numbers)) == (list(columns.starts), list(columns.numbers))
    for damaged in (b"", packed[:-1], packed[:9], b"x" + packed[1:]):
        with pytest.raises(InvalidInput, match="damaged"):
            unpacked_table(damaged)
