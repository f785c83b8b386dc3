"""What was tried against the name server and got through once."""

from __future__ import annotations

import time
import tracemalloc

import dns.edns
import dns.message
import pytest

from cdn.dns.answer import Responder
from cdn.dns.answer_memo import AnswerMemo
from cdn.dns.code import Rcode
from cdn.dns.transport import Transport
from cdn.dns.zone_file import read_zone_file
from cdn.errors import InvalidInput
from tests.dns.test_alike import QUESTIONS, responder, zones
from tests.dns.zone_of_tests import ZONE

WALL_S = 1_800_000_000.0
SOURCE = "198.51.100.7"
NETWORKS = [("10.0.1.0", 24), ("10.0.1.7", 32), ("2001:db8:1::", 48), ("2001:db8:1:100::", 56)]
HEAD = """$ORIGIN own.example.
$TTL 300
@ IN SOA ns.example.org. dns.example.org. 1 3600 600 86400 60
@ IN NS ns.example.org.
"""
DIGITS = "9" * 1_000_000
SOON_S = 20.0
"""It took minutes, and hours of a larger file."""


def subnet_query(question: tuple[str, str], network: str, prefix: int) -> bytes:
    option = dns.edns.ECSOption(network, prefix)
    return dns.message.make_query(*question, use_edns=0, options=[option], id=1).to_wire()


@pytest.mark.parametrize("question", QUESTIONS[:6], ids=" ".join)
@pytest.mark.parametrize(("network", "prefix"), NETWORKS)
@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_a_known_query_that_was_cut_or_has_a_tail_is_malformed(
    question: tuple[str, str], network: str, prefix: int, fraction: float
) -> None:
    message = subnet_query(question, network, prefix)
    asked = responder(zones([fraction] * 4))
    assert asked.answer(message, SOURCE, Transport.UDP, WALL_S) is not None
    for changed in [message[:-cut] for cut in range(1, 7)] + [message + b"\xff" * more for more in range(1, 9)]:
        answer = asked.answer(changed, SOURCE, Transport.UDP, WALL_S)
        assert answer is not None
        assert answer[3] & 15 == Rcode.FORMERR


@pytest.mark.parametrize(
    "line",
    [f"a {DIGITS}w A 192.0.2.1", f"$TTL {DIGITS}w", f"a IN {DIGITS}x A 192.0.2.1"],
    ids=["of a record", "by default", "behind the class"],
)
def test_a_ttl_of_a_million_digits_is_refused_before_it_is_counted(line: str) -> None:
    start = time.process_time()
    with pytest.raises(InvalidInput, match=r"^hostile:5: .* goes on for 100000\d characters"):
        read_zone_file(HEAD + line + "\n", file="hostile", cdn_zone=ZONE)
    assert time.process_time() - start < SOON_S


@pytest.mark.parametrize("rrtype", ["NS", "DNAME"])
def test_what_is_above_many_names_far_down_is_looked_for_once(rrtype: str) -> None:
    names = "".join(f"b{number} A 192.0.2.1\n" for number in range(4_000))
    deep = f"$ORIGIN {'.'.join('a' * 110)}.own.example.\n{names}"

    def read_s(text: str) -> float:
        start = time.process_time()
        read_zone_file(text, file="deep", cdn_zone=ZONE)
        return time.process_time() - start

    assert read_s(f"{HEAD}z {rrtype} ns.example.org.\n{deep}") < 3 * read_s(HEAD + deep)


@pytest.mark.parametrize("name", [f"blog.{ZONE}", f"Blog.{ZONE}"], ids=["by its octets", "by what it means"])
def test_answers_for_a_million_networks_take_the_memory_that_is_theirs(name: str) -> None:
    limit_bytes = 2 * 1024 * 1024
    asked = responder(zones([0.25] * 4))
    asked._memo = AnswerMemo(limit_bytes)  # the whole of it takes minutes to fill
    message = bytearray(subnet_query((name, "A"), "10.0.0.1", 32))
    tracemalloc.start()
    try:
        before = allocated(asked, message, range(1))
        most = max(allocated(asked, message, range(start, start + 1_000)) for start in range(1, 12_000, 1_000))
        assert most - before < 1.2 * limit_bytes
    finally:
        tracemalloc.stop()


def allocated(asked: Responder, message: bytearray, clients: range) -> int:
    """Octets that are allocated after a question for each of these clients."""
    for client in clients:
        message[-3:] = client.to_bytes(3, "big")
        assert asked.answer(bytes(message), SOURCE, Transport.UDP, WALL_S) is not None
    return tracemalloc.get_traced_memory()[0]


def test_records_that_fit_no_answer_are_refused_where_they_are_imported() -> None:
    fits = "".join(f'big TXT "{number:05}{"x" * 240}"\n' for number in range(248))
    read_zone_file(HEAD + fits, file="hostile", cdn_zone=ZONE)
    with pytest.raises(InvalidInput, match=r"^hostile:5: all TXT of big.own.example together take 64017 octets"):
        read_zone_file(HEAD + fits + f'big TXT "{"y" * 20}"\n', file="hostile", cdn_zone=ZONE)
