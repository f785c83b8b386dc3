"""The first message of a client: whole, in pieces, damaged."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.client_hello import ClientHello, ClientHelloReader, HelloFault, read_at_once, read_client_hello
from tests.edge.tls_material import root_pem

MAX_BYTES = 16 * 1024


def vector(content: bytes, length_bytes: int) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(content, 2)


def server_name(name: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(bytes((kind,)) + vector(name, 2), 2))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(b"".join(vector(name, 1) for name in names), 2))


def pre_shared_keys(*tickets: bytes) -> bytes:
    identities = b"".join(vector(ticket, 2) + bytes(4) for ticket in tickets)
    return extension(41, vector(identities, 2) + vector(vector(bytes(32), 1), 2))


def message(*extensions: bytes) -> bytes:
    """A ClientHello without the head of the handshake message."""
    head = b"\x03\x03" + bytes(32) + vector(b"s" * 32, 1) + vector(b"\x13\x01", 2) + vector(b"\0", 1)
    return head + vector(b"".join(extensions), 2)


def records(handshake: bytes, fragment_bytes: int = 1 << 14) -> bytes:
    """The message in records of this size."""
    whole = b"\x01" + vector(handshake, 3)
    pieces = [whole[at : at + fragment_bytes] for at in range(0, len(whole), fragment_bytes)]
    return b"".join(b"\x16\x03\x01" + vector(piece, 2) for piece in pieces)


def receive(data: bytes, max_bytes: int = MAX_BYTES) -> ClientHello | HelloFault | None:
    read = ClientHelloReader(max_bytes).receive(data)
    at_once = read_at_once(data, max_bytes)
    is_one_record = len(data) > 5 and len(data) == 5 + int.from_bytes(data[3:5], "big") and data[5:6] == b"\x01"
    assert at_once == (read if is_one_record and isinstance(read, ClientHello) else None)
    return read


def test_what_openssl_says_is_read() -> None:
    context = ssl.create_default_context(cadata=root_pem().decode())
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="WWW.Example.COM")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert receive(outgoing.read()) == ClientHello("www.example.com", (b"h2", b"http/1.1"), ())


@pytest.mark.parametrize(
    ("extensions", "hello"),
    [
        ((), ClientHello("", (), ())),
        ((extension(43, b"\x02\x03\x04"),), ClientHello("", (), ())),
        ((server_name(b"a.example."),), ClientHello("a.example", (), ())),
        (
            (server_name(b"xn--bcher-kva.example"), alpn(b"acme-tls/1")),
            ClientHello("xn--bcher-kva.example", (b"acme-tls/1",), ()),
        ),
        ((server_name(b"192.0.2.1"),), ClientHello("", (), ())),
        ((server_name(b"2001:db8::1"),), ClientHello("", (), ())),
        ((server_name(b"1.example"),), ClientHello("1.example", (), ())),
        ((extension(35, b""),), ClientHello("", (), ())),
        ((extension(35, b"0123456789abcdefrest"),), ClientHello("", (), (b"0123456789abcdef",))),
        (
            (pre_shared_keys(b"0123456789abcdefrest", b"short", b"f" * 32),),
            ClientHello("", (), (b"0123456789abcdef", b"f" * 16)),
        ),
    ],
)
def test_what_decides_is_read(extensions: tuple[bytes, ...], hello: ClientHello) -> None:
    assert receive(records(message(*extensions))) == hello
    assert read_client_hello(message(*extensions)) == hello


def test_a_hello_from_before_extensions() -> None:
    assert receive(records(message()[:-2])) == ClientHello("", (), ())


@pytest.mark.parametrize(
    "extensions",
    [
        (server_name(b""),),
        (server_name(b"a\0b"),),
        (server_name(b"a b"),),
        (server_name("ä.example".encode()),),
        (server_name(b"a" * 256),),
        (server_name(b"a.example", kind=1),),
        (server_name(b"a.example"), server_name(b"b.example")),
        (extension(0, vector(b"\0" + vector(b"a", 2) + b"\0" + vector(b"b", 2), 2)),),
        (extension(0, b"\0"),),
        (extension(0, vector(b"\0\0\x05ab", 2)),),
        (extension(16, b"\0\0"),),
        (extension(16, b""),),
        (alpn(b""),),
        (alpn(b"h2", b""),),
        (extension(16, vector(b"\x05h2", 2)),),
        (extension(16, vector(b"\x02h2", 2) + b"x"),),
        (extension(41, b"\0\x09ab"),),
        (extension(41, vector(b"\0\x02ab\0", 2)),),
        (b"\0\0\0\x09ab",),
        (b"\0",),
    ],
)
def test_what_may_not_stand_there_is_refused(extensions: tuple[bytes, ...]) -> None:
    assert receive(records(message(*extensions))) is HelloFault.MALFORMED


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"GET / HTTP/1.1\r\n", HelloFault.NOT_TLS),
        (b"\x80\x2e\x01\x03\x01", HelloFault.NOT_TLS),  # SSL 2
        (b"\x16\x02", HelloFault.NOT_TLS),
        (b"\x17\x03\x03", HelloFault.NOT_TLS),
        (b"\x16\x03\x01\0\0", HelloFault.MALFORMED),  # no empty fragments (RFC 8446 section 5.1)
        (b"\x16\x03\x01\x40\x01", HelloFault.MALFORMED),
        (b"\x16\x03\x01\0\x01\x02", HelloFault.MALFORMED),
        (b"\x16\x03\x01\0\x01\x01\x15", HelloFault.MALFORMED),
        (b"\x16\x03\x01\0\x04\x01\x00\x40\x00", HelloFault.TOO_LARGE),
        (b"\x16\x03\x01\x40\x00", HelloFault.TOO_LARGE),
    ],
)
def test_what_is_no_hello_is_known_at_once(data: bytes, fault: HelloFault) -> None:
    assert receive(data) is fault


def test_many_small_records_are_bounded_too() -> None:
    reader = ClientHelloReader(1000)
    whole = records(message(server_name(b"a.example"), extension(21, bytes(600))), 1)
    found = [reader.receive(whole[at : at + 1]) for at in range(1100)]
    assert HelloFault.TOO_LARGE in found
    assert found.index(HelloFault.TOO_LARGE) <= 1001


@given(st.integers(1, 300), st.lists(st.integers(1, 200), max_size=20))
def test_fragments_and_reads_make_no_difference(fragment_bytes: int, reads: list[int]) -> None:
    hello = message(server_name(b"a.example"), alpn(b"http/1.1"), extension(21, bytes(300)))
    data = records(hello, fragment_bytes)
    reader = ClientHelloReader(MAX_BYTES)
    at = 0
    for size in reads:
        if at + size >= len(data):
            break
        assert reader.receive(data[at : at + size]) is None
        at += size
    assert reader.receive(data[at:]) == ClientHello("a.example", (b"http/1.1",), ())
    assert reader.received == data


@given(st.binary(max_size=400))
def test_garbage_is_a_value(data: bytes) -> None:
    assert receive(data) is None or isinstance(receive(data), HelloFault | ClientHello)
    read_client_hello(data)


@given(st.data())
def test_a_damaged_hello_is_a_value(data: st.DataObject) -> None:
    whole = bytearray(
        records(
            message(server_name(b"a.example"), alpn(b"h2", b"http/1.1"), pre_shared_keys(b"t" * 40), extension(35, b""))
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    found = receive(bytes(whole[:cut]))
    if isinstance(found, ClientHello):
        assert len(found.server_name) <= 255
        assert all(found.protocols)
