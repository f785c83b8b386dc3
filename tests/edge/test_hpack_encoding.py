"""Header blocks of responses say what HTTP/1.1 heads say; `hpack` reads them."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.hpack_encoding import encode_field, encode_response_head, encode_status
from cdn.edge.prepared import Prepared, SiteRuntime
from cdn.edge.response_head import encode_head
from cdn.http.fields import FieldLines

NAMES = st.sampled_from(["age", "etag", "vary", "x-a", "content-type", "set-cookie", "accept-charset", "x" * 300])
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=300)


@given(st.integers(200, 599), st.lists(st.tuples(NAMES, VALUES), max_size=20))
def test_what_is_encoded_is_read_by_another(status: int, fields: list[tuple[str, str]]) -> None:
    block = encode_response_head(encode_head(status, tuple(fields), 7))
    read = hpack.Decoder(max_header_list_size=1 << 20).decode(block, raw=True)
    length = [] if status in {204, 304} else [(b"content-length", b"7")]
    sent = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    assert [(bytes(name), bytes(value)) for name, value in read] == [(b":status", b"%d" % status), *sent, *length]


def test_nothing_is_added_to_a_table() -> None:
    decoder = hpack.Decoder()
    decoder.decode(encode_status(404) + encode_field(b"x-a", b"1") + encode_field(b"age", b"2") + encode_status(418))
    assert not decoder.header_table.dynamic_entries


def test_fields_of_http_1_1_are_left_out() -> None:
    head = b'HTTP/1.1 200 OK\r\nconnection: close\r\netag: "a"\r\ntransfer-encoding: chunked\r\n\r\n'
    assert encode_response_head(head) == encode_status(200) + encode_field(b"etag", b'"a"')


@pytest.mark.parametrize("base_age_at", [0.0, None])
@pytest.mark.parametrize("hit", ["cdn; hit", None])
@pytest.mark.parametrize("extends_max_age", [60, None])
@pytest.mark.parametrize("date", [(), (("date", "Tue, 14 Nov 2023 22:13:20 GMT"),)])
def test_a_prepared_response_says_the_same_in_both(
    base_age_at: float | None, hit: str | None, extends_max_age: int | None, date: FieldLines
) -> None:
    prepared = Prepared(
        status=200,
        fields=(("content-type", "text/css"), ("cache-control", "public, max-age=60"), ("etag", '"a"'), *date),
        content=b"x" * 10,
        base_age_at=base_age_at,
        site=SiteRuntime("a"),
        generation=0,
        fresh_until=1e9,
        extends_max_age=extends_max_age,
        hit=hit,
        wall_clock=lambda: 1_700_000_000.0,
    )
    for now in (5.0, 5.1, 7.5):
        lines = prepared.wire_head(now).decode("latin-1").split("\r\n")[1:-2]
        assert any(line.startswith("age: ") for line in lines) is (base_age_at is not None)
        read = hpack.Decoder().decode(prepared.h2_block(now))
        assert [f"{name!s}: {value!s}" for name, value in read] == [":status: 200", *lines]
    prepared.retire()
    assert prepared.h2_block(8.0) == b""
