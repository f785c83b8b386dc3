"""Headers of the PROXY protocol: both versions, byte by byte, and everything that is not one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.proxy_protocol import MAX_LINE_BYTES, ProxyFault, ProxyHeader, read_proxy_header

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
MAX_BYTES = 600
REST = b"GET / HTTP/1.1\r\n\r\n"
FOUR = IPv4Address("192.0.2.7").packed + IPv4Address("198.51.100.1").packed + b"\x1f\x90\x00\x50"
SIX = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + b"\x1f\x90\x00\x50"


def block(command: int, family: int, content: bytes, length: int | None = None) -> bytes:
    length = len(content) if length is None else length
    return SIGNATURE + bytes((command, family)) + length.to_bytes(2, "big") + content


GOOD: dict[str, tuple[bytes, str | None]] = {
    "1, IPv4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7"),
    "1, IPv4, the longest": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    "1, IPv4, ports 0": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
    "1, IPv6": (b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 1 2\r\n", "2001:db8::7"),
    "1, IPv6, the longest": (
        b"PROXY TCP6 " + b"%b %b" % ((b"ffff:" * 7 + b"ffff",) * 2) + b" 65535 65535\r\n",
        "ffff:" * 7 + "ffff",
    ),
    "1, IPv4 within IPv6": (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
    "1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "1, unknown with what is to be ignored": (b"PROXY UNKNOWN \xff any thing\rat\nall\r\n", None),
    "1, unknown, the longest": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    "2, IPv4": (block(0x21, 0x11, FOUR), "192.0.2.7"),
    "2, IPv4 datagrams": (block(0x21, 0x12, FOUR), "192.0.2.7"),
    "2, IPv6": (block(0x21, 0x21, SIX), "2001:db8::7"),
    "2, IPv4 within IPv6": (block(0x21, 0x21, IPv6Address("::ffff:192.0.2.7").packed + SIX[16:]), "192.0.2.7"),
    "2, more behind the addresses": (block(0x21, 0x11, FOUR + b"\x04\x00\x03abc"), "192.0.2.7"),
    "2, as large as may be": (block(0x21, 0x11, FOUR + bytes(MAX_BYTES - 28)), "192.0.2.7"),
    "2, a UNIX socket": (block(0x21, 0x31, b"/a".ljust(216, b"\0")), None),
    "2, unspecified": (block(0x21, 0x00, b""), None),
    "2, unspecified, with what is to be skipped": (block(0x21, 0x00, b"abc"), None),
    "2, IPv4, unspecified transport": (block(0x21, 0x10, FOUR), None),
    "2, local": (block(0x20, 0x00, b""), None),
    "2, local with addresses": (block(0x20, 0x11, FOUR), None),
    "2, local, any family": (block(0x20, 0xFF, b"ab"), None),
}

BAD: dict[str, tuple[bytes, ProxyFault]] = {
    name: (data, ProxyFault.MALFORMED)
    for name, data in {
        "a request": REST,
        "a TLS hello": b"\x16\x03\x01\x02\x00",
        "lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "another word": b"PROXI",
        "no space": b"PROXY\r\n",
        "two spaces": b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "a space at the end": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
        "nothing": b"PROXY \r\n",
        "a family unknown": b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "more than UNKNOWN": b"PROXY UNKNOWNS\r\n",
        "an address missing": b"PROXY TCP4 192.0.2.7 1 2\r\n",
        "a port missing": b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
        "a port too many": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
        "a port too large": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
        "a port with a zero ahead": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 02\r\n",
        "a signed port": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 +2\r\n",
        "a port of other digits": "PROXY TCP4 192.0.2.7 198.51.100.1 1 \u0662\r\n".encode(),
        "an octet too large": b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
        "an octet with a zero ahead": b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
        "three octets": b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
        "IPv6 as TCP4": b"PROXY TCP4 ::1 ::1 1 2\r\n",
        "IPv4 as TCP6": b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "a bad destination": b"PROXY TCP4 192.0.2.7 nowhere 1 2\r\n",
        "an address with a scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "an address with a byte above ASCII": b"PROXY TCP4 192.0.2.\xff 198.51.100.1 1 2\r\n",
        "LF alone": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".ljust(MAX_LINE_BYTES, b"x"),
        "CR alone": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r".ljust(MAX_LINE_BYTES, b"x"),
        "one byte too long": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
        "another signature": SIGNATURE[:-1] + b"\r",
        "version 1 in binary": block(0x11, 0x11, FOUR),
        "version 3": block(0x31, 0x11, FOUR),
        "a command unknown": block(0x22, 0x11, FOUR),
        "a family unknown in binary": block(0x21, 0x41, FOUR),
        "a transport unknown": block(0x21, 0x13, FOUR),
        "IPv4 cut": block(0x21, 0x11, FOUR[:-1]),
        "IPv6 cut": block(0x21, 0x21, SIX[:-1]),
        "a UNIX socket cut": block(0x21, 0x31, bytes(215)),
    }.items()
}
BAD["too large"] = (block(0x21, 0x11, FOUR + bytes(MAX_BYTES)), ProxyFault.TOO_LARGE)
BAD["too large, local"] = (block(0x20, 0x00, b"", 0xFFFF), ProxyFault.TOO_LARGE)


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_however_it_comes(name: str) -> None:
    data, address = GOOD[name]
    for end in range(len(data)):
        assert read_proxy_header(bytearray(data[:end]), MAX_BYTES) is None
    for rest in (b"", REST, data):
        assert read_proxy_header(bytearray(data + rest), MAX_BYTES) == ProxyHeader(address, len(data))


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused_however_it_comes(name: str) -> None:
    data, fault = BAD[name]
    verdicts = [read_proxy_header(data[:end], MAX_BYTES) for end in range(len(data) + 1)]
    first = next(at for at, verdict in enumerate(verdicts) if verdict is not None)
    assert set(verdicts[first:]) == {fault}, "and it stays so, whatever comes"
    assert read_proxy_header(data + REST, MAX_BYTES) is fault


@settings(max_examples=300)
@given(
    data=st.sampled_from([data for data, _ in GOOD.values()]),
    place=st.integers(0, 120),
    removed=st.integers(0, 3),
    piece=st.binary(max_size=3),
)
def test_any_bytes_have_one_verdict_and_no_client_that_they_do_not_name(
    data: bytes, place: int, removed: int, piece: bytes
) -> None:
    at = place % (len(data) + 1)
    mutated = data[:at] + piece + data[at + removed :]
    whole = read_proxy_header(mutated, MAX_BYTES)
    if isinstance(whole, ProxyHeader):
        assert whole.size_bytes <= len(mutated)
        assert read_proxy_header(mutated[: whole.size_bytes], MAX_BYTES) == whole
        if mutated.startswith(b"PROXY TCP") and whole.client_address is not None:
            words = mutated[: whole.size_bytes].split()
            named = IPv6Address(words[2].decode()) if words[1] == b"TCP6" else IPv4Address(words[2].decode())
            mapped = named.ipv4_mapped if isinstance(named, IPv6Address) else None
            assert whole.client_address == str(mapped or named)
    elif isinstance(whole, ProxyFault):
        assert read_proxy_header(mutated + b"x", MAX_BYTES) is whole
    else:
        assert len(mutated) < MAX_BYTES
