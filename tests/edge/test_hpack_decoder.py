"""The decoder of header blocks: RFC 7541's own examples, `hpack` as encoder and as oracle, faults and bounds."""

from __future__ import annotations

import tracemalloc

import hpack
import pytest
from hpack.exceptions import HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge import hpack_decoder
from cdn.edge.hpack_decoder import MAX_REMEMBERED, MAX_REMEMBERED_BYTES, MAX_SHAPES, MAX_TAILS, HpackDecoder, HpackFault

Lines = list[tuple[str, str]]

FIRST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
SECOND = [*FIRST, ("cache-control", "no-cache")]
THIRD = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
]
OK_302 = [
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
]
OK_307 = [(":status", "307"), *OK_302[1:]]
OK_200 = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
]
SMALL_TABLE = bytes.fromhex("3fe101")
"""A table of 256 octets, which the examples C.5 and C.6 have."""

EXAMPLES: dict[str, list[tuple[str, Lines]]] = {
    "C.2.1": [("400a637573746f6d2d6b65790d637573746f6d2d686561646572", [("custom-key", "custom-header")])],
    "C.2.2": [("040c2f73616d706c652f70617468", [(":path", "/sample/path")])],
    "C.2.3": [("100870617373776f726406736563726574", [("password", "secret")])],
    "C.2.4": [("82", [(":method", "GET")])],
    "C.3": [
        ("828684410f7777772e6578616d706c652e636f6d", FIRST),
        ("828684be58086e6f2d6361636865", SECOND),
        ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD),
    ],
    "C.4": [
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", FIRST),
        ("828684be5886a8eb10649cbf", SECOND),
        ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD),
    ],
    "C.5": [
        (
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
            "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            OK_302,
        ),
        ("4803333037c1c0bf", OK_307),
        (
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f"
            "3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076"
            "657273696f6e3d31",
            OK_200,
        ),
    ],
    "C.6": [
        (
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            OK_302,
        ),
        ("4883640effc1c0bf", OK_307),
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
            "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            OK_200,
        ),
    ],
}
"""RFC 7541 appendix C."""


def a_decoder(max_list_bytes: int = 1 << 30) -> HpackDecoder:
    return HpackDecoder(max_list_bytes)


def table(decoder: HpackDecoder) -> tuple[tuple[str, str], ...]:
    return decoder.dynamic_table


def is_too_large(decoder: HpackDecoder) -> bool:
    return decoder.is_list_too_large


def used_bytes(decoder: HpackDecoder) -> int:
    return sum(len(name) + len(value) + 32 for name, value in decoder.dynamic_table)


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_examples_of_the_rfc(section: str) -> None:
    decoder = a_decoder()
    if section in {"C.5", "C.6"}:
        assert decoder.decode(SMALL_TABLE) == []
    for block, fields in EXAMPLES[section]:
        assert decoder.decode(bytes.fromhex(block)) == fields


def test_the_table_of_the_examples_evicts_what_the_rfc_says() -> None:
    decoder = a_decoder()
    decoder.decode(SMALL_TABLE)
    for block, _ in EXAMPLES["C.6"]:
        decoder.decode(bytes.fromhex(block))
    assert decoder.dynamic_table == (OK_200[5], OK_200[4], OK_200[2])


NAMES = st.sampled_from(
    (
        ":path",
        ":method",
        ":authority",
        "accept",
        "cookie",
        "authorization",
        "user-agent",
        "x-a",
        "x-b",
        "x" * 140,
    )
)
VALUES = st.one_of(
    st.sampled_from(("", "GET", "/", "/a", "a" * 90, "b" * 130, "é", "\\")),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
    st.text(st.characters(max_codepoint=0xFF), max_size=20),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=14)


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[list[tuple[str, str, bool]], bool, int | None]]:
    """Field lists, some of which come again whole, whether Huffman's code is used, and a new size of the table."""
    lists = draw(st.lists(FIELDS, min_size=1, max_size=4))
    sizes = st.one_of(st.none(), st.sampled_from((0, 32, 60, 150, 400, 4096)), st.integers(0, 4096))
    return [
        (draw(st.sampled_from(lists)), draw(st.booleans()), draw(st.one_of(st.none(), sizes)))
        for _ in range(draw(st.integers(1, 8)))
    ]


@given(requests())
def test_what_another_encoded_is_decoded_and_the_tables_are_equal(
    blocks: list[tuple[list[tuple[str, str, bool]], bool, int | None]],
) -> None:
    encoder = hpack.Encoder()
    decoder = a_decoder()
    for fields, is_huffman, size_bytes in blocks:
        if size_bytes is not None:
            encoder.header_table_size = size_bytes
        block = encoder.encode(
            [(name.encode(), value.encode("latin-1"), is_personal) for name, value, is_personal in fields],
            huffman=is_huffman,
        )
        assert decoder.decode(block) == [(name, value) for name, value, _ in fields]
        entries = encoder.header_table.dynamic_entries
        assert decoder.dynamic_table == tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in entries)


def decoded_by_another(blocks: list[bytes]) -> list[Lines | None]:
    """What `hpack` says of the blocks of one connection; None, and nothing more, at a fault."""
    other = hpack.Decoder(max_header_list_size=1 << 30)
    other.max_allowed_table_size = 4096
    found: list[Lines | None] = []
    for block in blocks:
        try:
            fields = other.decode(block, raw=True)
        except HPACKError:
            return [*found, None]
        found.append([(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in fields])
    return found


def an_example_cut_and_changed(draw: st.DrawFn) -> bytes:
    section = draw(st.sampled_from(("C.3", "C.4", "C.5", "C.6")))
    block = bytearray.fromhex(draw(st.sampled_from(EXAMPLES[section]))[0])
    for _ in range(draw(st.integers(0, 3))):
        block[draw(st.integers(0, len(block) - 1))] = draw(st.integers(0, 255))
    return bytes(block[: draw(st.integers(0, len(block)))])


NEARLY = st.composite(an_example_cut_and_changed)()


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=20), NEARLY), max_size=6))
def test_any_octets_give_what_another_reads_or_the_one_fault(blocks: list[bytes]) -> None:
    decoder = a_decoder()
    found: list[Lines | None] = []
    for block in blocks:
        try:
            found.append(decoder.decode(block))
        except HpackFault:
            found.append(None)
            break
        assert used_bytes(decoder) <= 4096
    assert found == decoded_by_another(blocks)


STARTS = st.sampled_from(
    (b"", b"\x82", b"\x82\x87", b"\x82\xbe\x87", b"\x82\xbf\x87", b"\x84\x82", b"\x20", b"\x40\x01y\x01z")
)
PATHS = st.sampled_from(
    (
        b"\x04\x02/a",
        b"\x04\x03/bc",
        b"\x04\x00",
        b"\x04\x7f\x00" + b"l" * 127,
        b"\x04\x84`\xd5H_",
        b"\x04\x82``",
        b"\x05\x01/",
        b"",
    )
)
ENDS = st.sampled_from(
    (
        b"",
        b"\xbe",
        b"\xbf\xbe",
        b"\x82\x84\x87\x90",
        b"\x04\x02/z\x82",
        b"\x00\x01a\x01b\xbe",
        b"\x40\x01x\x01y",
        b"\x7e\x01w",
        b"\x04",
    )
)


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Blocks of a connection that have much in common, some of them cut."""
    blocks = [draw(STARTS) + draw(PATHS) + draw(ENDS) for _ in range(draw(st.integers(2, 12)))]
    blocks += [block[: draw(st.integers(0, len(block)))] for block in blocks if draw(st.integers(0, 9)) == 0]
    return [b"\x40\x01p\x01q\x40\x01r\x01s", *draw(st.permutations(blocks))]


@settings(max_examples=400)
@given(alike())
def test_blocks_that_differ_in_their_path_alone_are_what_another_reads(blocks: list[bytes]) -> None:
    decoder = a_decoder()
    found: list[Lines | None] = []
    for block in blocks:
        try:
            fields = decoder.decode(block)
        except HpackFault:
            found.append(None)
            break
        found.append(fields)
        shape = decoder.shape
        if shape is not None:
            place = len(shape.before)
            assert fields == [*shape.before, fields[place], *shape.after]
            assert next(at for at, (name, _) in enumerate(fields) if name == ":path") == place
    assert found == decoded_by_another(blocks)


def test_blocks_alike_have_one_shape_until_the_table_changes() -> None:
    decoder = a_decoder()
    decoder.decode(b"\x40\x01p\x01q")
    shapes = []
    for path in (b"\x04\x02/a", b"\x04\x02/b", b"\x04\x03/bc"):
        assert decoder.decode(b"\x82" + path + b"\xbe")[0] == (":method", "GET")
        shapes.append(decoder.shape)
    assert shapes[0] is not None
    assert shapes[0] is shapes[1] is shapes[2]
    assert decoder.decode(b"\x82") == [(":method", "GET")]
    assert decoder.shape is None
    decoder.decode(b"\x40\x01r\x01s")
    assert decoder.decode(b"\x82\x04\x02/a\xbe") == [(":method", "GET"), (":path", "/a"), ("r", "s")]
    assert decoder.shape is not shapes[0]
    shape = decoder.shape
    decoder.settings_acknowledged()
    decoder.decode(b"\x82\x04\x02/a")
    decoder.decode(b"\x82\x04\x02/a\xbe")
    assert decoder.shape is not shape


def test_a_shape_does_not_outlive_a_table_that_settings_made_smaller() -> None:
    decoder = HpackDecoder(1 << 20, table_bytes=100)
    decoder.decode(b"\x82\x04\x02/a\x87")
    decoder.settings_acknowledged()
    with pytest.raises(HpackFault, match="does not begin"):
        decoder.decode(b"\x82\x04\x02/b\x87")


def test_shapes_are_bounded() -> None:
    decoder = a_decoder()
    for number in range(50):
        decoder.decode(b"\x82\x04\x01a" + bytes((0x81 + number,)))
        assert 0 < len(decoder._shapes) <= MAX_SHAPES
    decoder.decode(b"\x82\x04\x01a" + b"\x82" * 300)
    assert all(len(shape) <= hpack_decoder.MAX_SHAPE_BYTES for shape in decoder._shapes)


def test_blocks_that_end_as_others_did_are_read_the_same_when_the_table_has_changed() -> None:
    """Memory of ends of blocks must not outlive the table that they were read with."""
    encoder = hpack.Encoder()
    decoder = a_decoder()
    shared = [(f"x-{number}", str(number)) for number in range(6)]
    decoder.decode(encoder.encode([("x-new", "0"), *shared]))
    assert decoder.decode(b"\x04\x02/a" + b"\xc3\xc2\xc1\xc0\xbf\xbe") == [(":path", "/a"), *shared]
    assert decoder.decode(b"\x04\x02/b" + b"\xc3\xc2\xc1\xc0\xbf\xbe") == [(":path", "/b"), *shared]
    assert decoder.decode(b"\x40\x01y\x01z") == [("y", "z")]
    moved = [("x-1", "1"), ("x-2", "2"), ("x-3", "3"), ("x-4", "4"), ("x-5", "5"), ("y", "z")]
    assert decoder.decode(b"\x04\x02/b" + b"\xc3\xc2\xc1\xc0\xbf\xbe") == [(":path", "/b"), *moved]
    assert decoder.decode(b"\x04\x02/b" + b"\xc3\xc2\xc1\xc0\xbf\xbe") == [(":path", "/b"), *moved]
    decoder.decode(b"\x20\x3f\xe1\x1f")
    with pytest.raises(HpackFault):
        decoder.decode(b"\x04\x02/b" + b"\xc3\xc2\xc1\xc0\xbf\xbe")


def test_an_end_of_a_block_that_changes_the_table_changes_it_each_time_it_comes() -> None:
    decoder = a_decoder()
    end = b"\x82\x84\x87\x90" + b"\x40\x01y\x01z" + b"\xbe\x82\x84\x87\x90"
    for path in (b"a", b"b", b"c"):
        assert decoder.decode(b"\x04\x01" + path + end)[0] == (":path", path.decode())
    assert table(decoder) == (("y", "z"),) * 3


def test_a_block_that_changes_the_table_changes_it_each_time_it_comes() -> None:
    decoder = a_decoder()
    for count in (1, 2, 3):
        assert decoder.decode(b"\x40\x01y\x01z") == [("y", "z")]
        assert decoder.dynamic_table == (("y", "z"),) * count


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "points beyond"),
        (b"\xff\x00", "points beyond"),
        (b"\x7f\x00\x01a", "points beyond"),
        (b"\x0f\x2f\x01a", "points beyond"),
        (b"\xff", "ends within"),
        (b"\x40", "ends within"),
        (b"\x40\x05ab", "ends within"),
        (b"\x40\x01a", "ends within"),
        (b"\x40\x01a\x05b", "ends within"),
        (b"\x40\x01a\x02b", "ends within"),
        (b"\x82\x04\x02a", "ends within"),
        (b"\x44", "ends within"),
        (b"\x44\x7f\xff\xff\xff\x7f", "ends within"),
        (b"\x44\x7f\xff\xff\xff\xff\x00", "more than 4 octets"),
        (b"\xff\x80\x80\x80\x80\x00", "more than 4 octets"),
        (b"\x44\x81\xff", "Huffman"),
        (b"\x82\x20", "beginning"),
        (b"\x3f\xe2\x1f", "SETTINGS allow 4096"),
        (b"\x3f", "ends within"),
    ],
)
def test_each_fault_says_what_it_is(block: bytes, says: str) -> None:
    with pytest.raises(HpackFault, match=says):
        a_decoder().decode(block)


def test_a_table_of_its_greatest_size_is_allowed_and_may_change_twice() -> None:
    decoder = a_decoder()
    decoder.decode(b"\x40\x01y\x01z")
    assert decoder.decode(b"\x20\x3f\xe1\x1f\x82") == [(":method", "GET")]
    assert decoder.dynamic_table == ()


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = a_decoder()
    decoder.decode(b"\x40\x01y\x01z")
    value = "v" * 4096
    block = hpack.Encoder().encode([("x", value)], huffman=False)
    assert decoder.decode(block) == [("x", value)]
    assert table(decoder) == ()
    assert decoder.decode(b"\x40\x01y\x01z") == [("y", "z")]
    assert table(decoder) == (("y", "z"),)


def test_a_name_may_be_that_of_the_entry_that_leaves_for_it() -> None:
    """RFC 7541 section 4.4."""
    decoder = a_decoder()
    decoder.decode(b"\x3f\x0b" + b"\x40\x01y\x01z")  # 42 octets: room for one entry
    assert decoder.decode(b"\x7e\x03abc") == [("y", "abc")]
    assert decoder.dynamic_table == (("y", "abc"),)


def test_a_table_made_smaller_by_settings_has_to_be_obeyed_at_once() -> None:
    """RFC 9113 section 4.3.1."""
    decoder = HpackDecoder(1 << 20, table_bytes=100)
    decoder.decode(b"\x3f\xe1\x1f")  # 4096: the client has not read our SETTINGS yet
    decoder.settings_acknowledged()
    with pytest.raises(HpackFault, match="does not begin"):
        decoder.decode(b"\x82")
    for block, is_allowed in ((b"\x3f\x45\x82", True), (b"\x20\x82", True), (b"\x3f\x46\x82", False)):
        decoder = HpackDecoder(1 << 20, table_bytes=100)
        decoder.settings_acknowledged()
        if is_allowed:
            assert decoder.decode(block) == [(":method", "GET")]
            assert decoder.decode(b"\x82") == [(":method", "GET")]
        else:
            with pytest.raises(HpackFault, match="SETTINGS allow 100"):
                decoder.decode(block)


def test_a_table_made_larger_by_settings_is_used_when_the_client_says_so() -> None:
    decoder = HpackDecoder(1 << 20, table_bytes=8192)
    with pytest.raises(HpackFault):
        decoder.decode(b"\x3f\xe1\x3f")
    decoder = HpackDecoder(1 << 20, table_bytes=8192)
    decoder.settings_acknowledged()
    assert decoder.decode(b"\x82") == [(":method", "GET")]
    assert decoder.decode(b"\x3f\xe1\x3f\x82") == [(":method", "GET")]
    for number in range(150):
        decoder.decode(b"\x40\x04%04d\x1c" % number + b"v" * 28)
    assert used_bytes(decoder) == 128 * 64


def test_a_list_that_is_too_large_is_cut_and_the_table_stays_in_step() -> None:
    decoder = a_decoder(max_list_bytes=200)
    large = b"\x40\x01a\x7f\x00" + b"v" * 127 + b"\x40\x01b\x01c"
    assert decoder.decode(large + b"\x82") == [("a", "v" * 127), ("b", "c")]
    assert is_too_large(decoder)
    assert table(decoder) == (("b", "c"), ("a", "v" * 127))
    assert decoder.decode(large + b"\x82") == [("a", "v" * 127), ("b", "c")]
    assert is_too_large(decoder)
    assert decoder.decode(b"\xbe\x82") == [("b", "c"), (":method", "GET")]
    assert not is_too_large(decoder)
    repeated = b"\xbf\xbe\xbe"
    for _ in range(2):
        assert decoder.decode(repeated) == [("a", "v" * 127), ("b", "c")]
        assert is_too_large(decoder)


@pytest.mark.parametrize(("max_list_bytes", "is_cut"), [(42 + 35, False), (42 + 34, True)])
def test_the_size_of_a_list_counts_names_values_and_32_octets_for_each(max_list_bytes: int, is_cut: bool) -> None:
    decoder = a_decoder(max_list_bytes)
    decoder.decode(b"\x82\x00\x01a\x02bc")
    assert decoder.is_list_too_large == is_cut


def test_a_block_that_names_a_large_entry_often_takes_no_memory_for_each() -> None:
    """An HPACK bomb (CVE-2016-6581): 64 KiB that stand for 250 MiB."""
    decoder = a_decoder(max_list_bytes=32 * 1024)
    decoder.decode(hpack.Encoder().encode([("x", "v" * 4000)], huffman=False))
    tracemalloc.start()
    try:
        fields = decoder.decode(b"\xbe" * 65_536)
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert is_too_large(decoder)
    assert len(fields) == 8


def test_equal_fields_of_two_connections_are_the_same_object() -> None:
    block = hpack.Encoder().encode([("user-agent", "Mozilla/5.0 of a test"), ("x-shared", "é\\")])
    assert all(one is other for one, other in zip(a_decoder().decode(block), a_decoder().decode(block), strict=True))


@pytest.mark.parametrize("name", ["cookie", "authorization", "proxy-authorization"])
def test_what_one_client_alone_sends_is_not_kept_for_others(name: str) -> None:
    encoder = hpack.Encoder()
    secret = f"a secret of {name}"
    decoder = a_decoder()
    decoder.decode(encoder.encode([(name, secret)]))
    decoder.decode(encoder.encode([(name, secret + "2")]))
    decoder.decode(encoder.encode([("x-never", secret, True)]))
    assert not any(secret in value for _, value in hpack_decoder._fields.values())
    assert not any(secret in value for value in hpack_decoder._values.values())


def test_what_is_remembered_is_bounded() -> None:
    encoder = hpack.Encoder()
    decoder = a_decoder()
    decoder.decode(encoder.encode([("x-named", "0")]))
    for number in range(MAX_REMEMBERED + 100):
        decoder.decode(b"\x04\x05%05d" % number)
        decoder.decode(b"\x0f\x2f\x05%05d" % number)
    assert 0 < len(hpack_decoder._fields) <= MAX_REMEMBERED
    assert 0 < len(hpack_decoder._values) <= MAX_REMEMBERED
    long = "l" * 400
    decoder.decode(encoder.encode([(":path", long), ("x-named", long)]))
    assert all(len(raw) <= MAX_REMEMBERED_BYTES for raw in (*hpack_decoder._fields, *hpack_decoder._values))
    for number in range(100):
        decoder.decode(b"\x04\x01a" + bytes((0x81 + number % 60,)) * (4 + number // 60))
    assert 0 < len(decoder._tails) <= MAX_TAILS
    decoder.decode(b"\x04\x01a" + b"\x82" * 300)
    assert all(len(tail) <= hpack_decoder.MAX_TAIL_BYTES for tail in decoder._tails)
