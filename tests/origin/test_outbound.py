"""Which addresses are connected to for users."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.origin.outbound import OutboundRule, parse_networks

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "240.0.0.1",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "100::1",
    "2001:db8::1",
    "2001::1",
    "2001:10::1",
    "3fff::1",
    "4000::1",
    "64:ff9b:1::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.1.2.3",
    "::127.0.0.1",
    "::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2002:a00:1::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "ff02::1",
    "::ffff:0.0.0.0",
    "::ffff:224.0.0.1",
    "64:ff9b::",
    "2002::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_the_public_internet_is_allowed(text: str) -> None:
    assert OutboundRule().may_connect(ip_address(text))


@pytest.mark.parametrize("text", [*INSIDE, *NEVER])
def test_what_is_inside_is_refused(text: str) -> None:
    assert not OutboundRule().may_connect(ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_all_that_can_be_connected_to_is_allowed_in_development(text: str) -> None:
    assert OutboundRule(allows_private=True).may_connect(ip_address(text))


@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_host_is_never_connected_to(text: str) -> None:
    rule = OutboundRule(allows_private=True, allowed_networks=parse_networks(("0.0.0.0/0", "::/0")))
    assert not rule.may_connect(ip_address(text))


def test_a_network_of_the_operator_is_allowed_and_no_other() -> None:
    rule = OutboundRule(allowed_networks=parse_networks(("10.1.0.0/16", "fd00:1::/32", "192.168.7.7")))
    for allowed in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::9", "192.168.7.7", "8.8.8.8"):
        assert rule.may_connect(ip_address(allowed)), allowed
    for refused in ("10.2.0.1", "::ffff:10.2.0.1", "fd00:2::9", "192.168.7.8", "127.0.0.1", "::1"):
        assert not rule.may_connect(ip_address(refused)), refused


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.1\.2\.3/8"):
        parse_networks(("10.0.0.0/8", "10.1.2.3/8"))


@given(st.integers(0, 2**32 - 1))
def test_no_form_of_an_ipv4_address_is_judged_more_mildly(number: int) -> None:
    rule = OutboundRule()
    plain = rule.may_connect(IPv4Address(number))
    for form in (0xFFFF << 32, 0x64FF9B << 96, 0):
        if form or number > 1:
            assert rule.may_connect(IPv6Address(form | number)) is plain
    assert not rule.may_connect(IPv6Address(0x2002 << 112 | number << 80)) or plain


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_allowed_that_the_registries_call_private(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        assert mapped is not None or not OutboundRule().may_connect(address)
