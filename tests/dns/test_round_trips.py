"""Measured round-trip times: the longest prefix first, name by name; a wrong line is named."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.dns.client import AddressFamily
from cdn.dns.geography import NOWHERE
from cdn.dns.round_trips import RoundTripTable, read_round_trips, round_trips_of
from cdn.errors import InvalidInput, TooLarge

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6


def told(table: RoundTripTable, address: str) -> tuple[dict[str, float], int]:
    parsed = ip_address(address)
    located = table.row(V4 if parsed.version == 4 else V6, int(parsed))
    return table.round_trip_ms(located.place), located.prefix


def test_the_longest_prefix_goes_first_name_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text(
        "prefix,node-or-region,ms\n# measured in June\n\n"
        "192.0.0.0/8,eu,20\n192.0.0.0/8,fra1,12.5\n192.0.2.0/24,fra1,3\n 192.0.2.0/25 , par1 , 1 \n"
        "2001:db8::/32,us,80\n"
    )
    table = read_round_trips(path)
    assert told(table, "192.0.2.1") == ({"eu": 20.0, "fra1": 3.0, "par1": 1.0}, 25)
    assert told(table, "192.0.2.129") == ({"eu": 20.0, "fra1": 3.0}, 25)
    assert told(table, "192.0.3.1") == ({"eu": 20.0, "fra1": 12.5}, 24)
    assert told(table, "193.0.0.1") == ({}, 8)
    assert table.row(V4, int(ip_address("193.0.0.1"))).place == NOWHERE
    assert told(table, "2001:db8:1::1") == ({"us": 80.0}, 32)
    assert told(table, "2001:db9::1") == ({}, 32)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("192.0.2.1/24,fra1,1", "has host bits set"),
        ("nonsense,fra1,1", "nonsense"),
        ("192.0.2.0/24,fra1", "three parts"),
        ("192.0.2.0/24,,1", "three parts"),
        ("192.0.2.0/24,fra1,soon", "soon"),
        ("192.0.2.0/24,fra1,nan", "no time"),
        ("192.0.2.0/24,fra1,-1", "no time"),
        ("192.0.2.0/24,fra1,60001", "no time"),
        ("2001:db8::/65,fra1,1", "longer than /64"),
        ("10.0.0.0/8,fra1,2", "stands twice"),
        ("#" * 500, "longer than 400 characters"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "rtt.csv"
    path.write_text(f"10.0.0.0/8,fra1,1\n{line}\n10.0.0.0/9,fra1,1\n")
    with pytest.raises(InvalidInput, match=rf"rtt\.csv, line 2: .*{fault}"):
        read_round_trips(path)


def test_what_is_no_text_and_what_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rtt.csv").write_bytes(b"\xff\xfe10.0.0.0/8,fra1,1\n")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_round_trips(tmp_path / "rtt.csv")
    with pytest.raises(FileNotFoundError):
        read_round_trips(tmp_path / "none.csv")
    monkeypatch.setattr("cdn.dns.round_trips.MAX_LINES", 2)
    with pytest.raises(TooLarge, match="more than 2 lines"):
        round_trips_of(["10.0.0.0/8,a,1", "10.0.0.0/8,b,1", "10.0.0.0/8,c,1"], "rtt.csv")


networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1).map(lambda each: each & 0xC00000F0),
    st.integers(0, 32),
)


@settings(max_examples=150, deadline=None)
@given(
    entries=st.dictionaries(st.tuples(networks, st.sampled_from("abc")), st.integers(0, 9), max_size=15),
    addresses=st.lists(st.integers(0, 2**32 - 1).map(lambda each: each & 0xC00000FF), min_size=1, max_size=8),
)
def test_against_a_model_that_looks_at_every_prefix(
    entries: dict[tuple[IPv4Network, str], int], addresses: list[int]
) -> None:
    table = round_trips_of([f"{network},{name},{ms}" for (network, name), ms in entries.items()], "rtt.csv")

    def model(address: int) -> dict[str, float]:
        holding = [each for each in entries.items() if ip_address(address) in each[0][0]]
        return {name: ms for (_, name), ms in sorted(holding, key=lambda each: each[0][0].prefixlen)}

    for address in addresses:
        located = table.row(V4, address)
        assert table.round_trip_ms(located.place) == model(address)
        network = ip_network((address, located.prefix), strict=False)
        assert all(table.row(V4, int(each)).place == located.place for each in (network[0], network[-1]))
