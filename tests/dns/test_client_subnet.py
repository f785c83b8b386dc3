"""The client subnet of a query: every octet of it right, or malformed (RFC 7871)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.dns.client import AddressFamily, Client
from cdn.dns.client_subnet import ClientSubnet, read_subnet


def option(family: int, source: int, scope: int, address: bytes) -> bytes:
    return struct.pack("!HBB", family, source, scope) + address


@pytest.mark.parametrize(
    ("content", "client"),
    [
        (option(1, 24, 0, b"\xc0\x00\x02"), Client(AddressFamily.IPV4, 0xC0000200, 24)),
        (option(1, 32, 0, b"\xc0\x00\x02\x01"), Client(AddressFamily.IPV4, 0xC0000201, 32)),
        (option(1, 1, 0, b"\x80"), Client(AddressFamily.IPV4, 0x80000000, 1)),
        (option(1, 0, 0, b""), Client(AddressFamily.IPV4, 0, 0)),
        (option(2, 0, 0, b""), Client(AddressFamily.IPV6, 0, 0)),
        (option(0, 0, 0, b""), Client(AddressFamily.IPV4, 0, 0)),
        (option(2, 48, 0, b"\x20\x01\x0d\xb8\0\1"), Client(AddressFamily.IPV6, int(ip_address("2001:db8:1::")), 48)),
        (option(2, 128, 0, b"\1" * 16), Client(AddressFamily.IPV6, int.from_bytes(b"\1" * 16, "big"), 128)),
    ],
)
def test_whom_a_subnet_means(content: bytes, client: Client) -> None:
    subnet = read_subnet(content)
    assert subnet is not None
    assert subnet.client() == client
    assert subnet.client().is_private == (client.source_prefix == 0)
    scope = 17 if client.source_prefix else 0
    assert subnet.option_head(17) + subnet.address == struct.pack("!HH", 8, len(content)) + option(
        subnet.family, subnet.source_prefix, scope, subnet.address
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\1\0",
        option(1, 24, 1, b"\xc0\x00\x02"),  # a scope in a query
        option(1, 24, 0, b"\xc0\x00"),
        option(1, 24, 0, b"\xc0\x00\x02\x00"),
        option(1, 0, 0, b"\0"),
        option(1, 23, 0, b"\xc0\x00\x03"),  # a bit beyond the prefix
        option(1, 33, 0, b"\xc0\x00\x02\x01\x00"),
        option(2, 129, 0, bytes(17)),
        option(0, 8, 0, b"\1"),
        option(3, 24, 0, b"\xc0\x00\x02"),
        option(3, 0, 0, b""),
    ],
)
def test_what_is_malformed(content: bytes) -> None:
    assert read_subnet(content) is None


@given(st.integers(1, 2), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=18))
def test_a_plain_reading_of_the_rfc_says_the_same(family: int, source: int, scope: int, address: bytes) -> None:
    bits = "".join(f"{octet:08b}" for octet in address)
    whole = 32 if family == 1 else 128
    is_right = scope == 0 and source <= whole and len(bits) == -(-source // 8) * 8 and "1" not in bits[source:]
    expected = ClientSubnet(family, source, address) if is_right else None
    assert read_subnet(option(family, source, scope, address)) == expected
