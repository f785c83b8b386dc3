"""Names in long responses."""

from __future__ import annotations

import dns.message

from cdn.dns.code import Rcode
from cdn.dns.query import Query, read_query
from cdn.dns.response import MAX_TCP_BYTES, Room, encode_response
from cdn.dns.zone_answer import Rrset, ZoneAnswer
from tests.dns.zones_for_answers import rrset


def test_nobody_points_further_than_a_pointer_reaches() -> None:
    """A name that stands beyond the 16,384th octet is written again, with what it shares with earlier ones."""
    found = ZoneAnswer(
        Rcode.NOERROR,
        answer=(
            Rrset((b"example", b"net"), 16, 60, tuple(b"\xff" + bytes((number,)) * 255 for number in range(70))),
            rrset("example.net", "NS", 60, "far.away.example.net.", "b.far.away.example.net."),
        ),
    )
    query = read_query(dns.message.make_query("Example.net", "TXT").to_wire())
    assert isinstance(query, Query)
    raw, is_truncated = encode_response(query, found, b"", Room(MAX_TCP_BYTES))
    assert not is_truncated
    assert raw.count(b"\x03far\x04away\xc0\x0c") == 2
    names = sorted(each.to_text() for each in dns.message.from_wire(raw).answer[1])
    assert names == ["b.far.away.Example.net.", "far.away.Example.net."]


def test_times_to_live_have_31_bits() -> None:
    query = read_query(dns.message.make_query("a.example.net", "A").to_wire())
    assert isinstance(query, Query)
    found = ZoneAnswer(Rcode.NOERROR, answer=(Rrset((b"a", b"example", b"net"), 1, 2**32 - 1, (b"\1\2\3\4",)),))
    raw, _ = encode_response(query, found, b"", Room(MAX_TCP_BYTES))
    assert dns.message.from_wire(raw).answer[0].ttl == 2**31 - 1
