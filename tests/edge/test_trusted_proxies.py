"""Whose request it is that a proxy hands on."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.trusted_proxies import MAX_HOPS, TrustedProxies, parse_address

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.1")))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.5", "198.51.100.9", "203.0.113.5"),  # nobody believes the peer
        ("10.1.1.1", None, "10.1.1.1"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.9", "198.51.100.9"),
        ("fd00::1", "198.51.100.9", "198.51.100.9"),
        ("192.0.2.1", "2001:DB8::9", "2001:db8::9"),
        ("192.0.2.2", "2001:db8::9", "192.0.2.2"),
        # what the client wrote itself stands on the left
        ("10.1.1.1", "1.1.1.1, 10.9.9.9, 198.51.100.9, 10.2.2.2", "198.51.100.9"),
        ("10.1.1.1", "1.1.1.1,198.51.100.9 ,\t10.2.2.2", "198.51.100.9"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),  # all of them are ours
        ("10.1.1.1", "1.1.1.1, unknown", "10.1.1.1"),
        ("10.1.1.1", "1.1.1.1, unknown, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "1.1.1.1, , 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "198.51.100.9:4711", "198.51.100.9"),
        ("10.1.1.1", "[2001:db8::9]:4711, 10.2.2.2:80", "2001:db8::9"),
        ("10.1.1.1", "[2001:db8::9]", "2001:db8::9"),
        ("10.1.1.1", "198.51.100.9:port", "10.1.1.1"),
        ("10.1.1.1", "::ffff:198.51.100.9", "198.51.100.9"),
        ("10.1.1.1", "1.1.1.1, ::ffff:10.2.2.2", "1.1.1.1"),
        ("10.1.1.1", "010.1.1.1", "10.1.1.1"),
        ("not an address", "198.51.100.9", "not an address"),
    ],
)
def test_the_rightmost_address_that_is_not_trusted_is_the_client(
    peer: str, forwarded_for: str | None, client: str
) -> None:
    assert PROXIES.client_of(peer, forwarded_for) == client


def test_without_any_nobody_is_believed() -> None:
    assert not TrustedProxies()
    assert PROXIES
    assert TrustedProxies().client_of("10.1.1.1", "198.51.100.9") == "10.1.1.1"


def test_the_row_of_proxies_is_bounded() -> None:
    hops = ", ".join(["198.51.100.9", *["10.2.2.2"] * (MAX_HOPS - 1)])
    assert PROXIES.client_of("10.1.1.1", hops) == "198.51.100.9"
    assert PROXIES.client_of("10.1.1.1", hops + ", 10.2.2.2") == "10.2.2.2"
    started = time.process_time()
    PROXIES.client_of("10.1.1.1", "10.2.2.2," * 200_000 + "10.2.2.2")
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    ("text", "plain"),
    [("::FFFF:1.2.3.4", "1.2.3.4"), ("fe80::1%eth0", "fe80::1"), ("1.2.3.4", "1.2.3.4"), ("a", "None"), ("", "None")],
)
def test_addresses_have_one_form(text: str, plain: str) -> None:
    assert str(parse_address(text)) == plain


@given(
    own=st.lists(st.sampled_from(["10.2.2.2", "fd00::3", "192.0.2.1"]), max_size=5),
    forged=st.text(alphabet="0123456789.:,[] abcf%", max_size=40),
)
def test_no_list_of_the_client_s_making_hides_its_address(own: list[str], forged: str) -> None:
    """The first trusted proxy appends the address it was asked from; whatever stood there before does not count."""
    told = ", ".join([forged, "203.0.113.5", *own])
    assert PROXIES.client_of("10.1.1.1", told) == "203.0.113.5"
