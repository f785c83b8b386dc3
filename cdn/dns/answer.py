"""Bytes in, bytes out: the whole way of a question, without sockets and clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from cdn.dns.answer_memo import AnswerMemo, Remembered
from cdn.dns.client import client_at
from cdn.dns.code import IN, Rcode, Rrtype
from cdn.dns.cookie import COOKIE_BYTES, Cookies, CookieSecrets, JudgedCookie
from cdn.dns.query import COOKIE_OPTION, MIN_PAYLOAD_BYTES, NSID_OPTION, Edns, Query, Refusal, read_query
from cdn.dns.query_pattern import QueryPatterns
from cdn.dns.rate_limit import Kind, RateLimiter, RateLimits
from cdn.dns.response import (
    MAX_PAYLOAD_BYTES,
    MAX_TCP_BYTES,
    RECURSION_DESIRED_BIT,
    TRUNCATED_BIT,
    Room,
    encode_response,
    header_and_question,
    opt_record,
)
from cdn.dns.transport import Transport
from cdn.dns.zone_answer import Likeness, Signers, ZoneAnswer, Zones, all_alike
from cdn.errors import InvalidInput

__all__ = ["AnswerCounters", "AnswerSettings", "Responder", "Transport"]

MEMO_S = 600.0
"""For so long answers are remembered where no zone changes: signatures are made anew days before they end."""

MAX_NSID_BYTES = 128
"""Enough for a name; it stands in the answers that have to fit."""

_IN_NO_ZONE = {
    **dict.fromkeys(map(int, (Rrtype.TKEY, Rrtype.TSIG, Rrtype.MAILA, Rrtype.MAILB)), Rcode.NOTIMP),
    **dict.fromkeys(map(int, (Rrtype.AXFR, Rrtype.IXFR)), Rcode.REFUSED),
    int(Rrtype.OPT): Rcode.FORMERR,  # it stands in no question (RFC 6891 6.1.1)
}
"""Types that are in questions only, or not even there, and what is said to them."""

_OF_ZONES = frozenset({int(Rcode.NOERROR), int(Rcode.NXDOMAIN)})
_ANSWER, _ABSENCE = Kind.ANSWER, Kind.ABSENCE

_MEANING_BYTES = 200
"""What a query takes beside its name where it is remembered by what it means."""

_OPTION_HEAD_BYTES = 4
_RCODES = 32
_TALLY_TRUNCATED = _RCODES
_TALLY_TCP = 2 * _RCODES
_TALLIES = 4 * _RCODES


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How every answer is given, whatever the zone says. Raises InvalidInput."""

    nsid: bytes = b""
    """What a server calls itself when it is asked (RFC 5001); empty: it says nothing."""
    cookies: CookieSecrets | None = None
    """None: cookies are passed over like any option that is not known (RFC 7873 5.2.1)."""
    rate_limits: RateLimits | None = None
    """None: everybody gets every answer."""

    def __post_init__(self) -> None:
        if len(self.nsid) > MAX_NSID_BYTES:
            raise InvalidInput(f"nsid has {len(self.nsid)} octets, at most {MAX_NSID_BYTES} are told", field="nsid")


@dataclass(slots=True)
class AnswerCounters:
    """What was asked and how it was answered. `silent`: what got no answer. `limited`: answers that were above the
    limit of their client's network, of which `slipped` were sent all the same, truncated or as BADCOOKIE.
    `bad_cookies`: queries with a server cookie that is not ours, or no longer."""

    queries: Counter[Transport] = field(default_factory=Counter)
    rcodes: Counter[Rcode] = field(default_factory=Counter)
    truncated: int = 0
    silent: int = 0
    limited: int = 0
    slipped: int = 0
    bad_cookies: int = 0


@dataclass(frozen=True, slots=True)
class _Made:
    """A response between its id and the address of the client subnet; cookies come after that."""

    front: bytes
    rcode: int
    is_truncated: bool
    kind: Kind
    is_for_one: bool
    """It is for whom it was made for, by their address, and for nobody else who asks the same."""
    likeness: Likeness | None = None
    """Who else who asks the same is answered the same; None: that is not known."""


class Responder:
    """Answers for all zones of a process, and refuses every other name (RFC 8906: an answer, not silence).

    It remembers answers for as long as `zones.generation` is the same object, and ten minutes at the most: what a
    signer says of a question is valid for longer than that.
    """

    def __init__(self, zones: Zones, signers: Signers | None, settings: AnswerSettings) -> None:
        self._zones = zones
        self._signers = signers
        self._nsid = settings.nsid
        self._cookies = None if settings.cookies is None else Cookies(settings.cookies)
        self._limiter = None if settings.rate_limits is None else RateLimiter(settings.rate_limits)
        self._memo = AnswerMemo()
        self._patterns = QueryPatterns()
        self._generation: object = None
        self._from_s = self._until_s = 0.0
        self._tallies = [0] * _TALLIES
        self._silent = dict.fromkeys(Transport, 0)
        self._limited = self._slipped = self._bad_cookies = 0

    @property
    def counters(self) -> AnswerCounters:
        """As they are now."""
        tallies = self._tallies
        unanswered = Counter(self._silent)
        unanswered[Transport.UDP] += self._limited - self._slipped
        answered = Counter({Transport.UDP: sum(tallies[:_TALLY_TCP]), Transport.TCP: sum(tallies[_TALLY_TCP:])})
        return AnswerCounters(
            queries=unanswered + answered,
            rcodes=Counter({rcode: sum(tallies[rcode::_RCODES]) for rcode in Rcode}),
            truncated=sum(tallies[_TALLY_TRUNCATED:_TALLY_TCP]) + sum(tallies[_TALLY_TCP + _TALLY_TRUNCATED :]),
            silent=sum(self._silent.values()),
            limited=self._limited,
            slipped=self._slipped,
            bad_cookies=self._bad_cookies,
        )

    def answer(self, message: bytes, source: str, transport: Transport, wall_s: float) -> bytes | None:
        """The response to what `source`, an IP address, sent; None: say nothing. It raises nothing.

        `wall_s` is the time since 1970: cookies and signatures carry it.
        """
        if transport is Transport.TCP:
            return self.answer_tcp(message, source, wall_s)
        return self.answer_udp(message, source, wall_s)

    def answer_udp(self, message: bytes, source: str, wall_s: float) -> bytes | None:
        """See `answer`. What was asked before, letter by letter, is answered from memory."""
        if self._zones.generation is not self._generation or not self._from_s <= wall_s < self._until_s:
            self._forget(wall_s)
        remembered = self._memo.newer.get(message[2:])
        if remembered is None:
            remembered = self._remembered(message[2:], source) or self._alike(message)
            if remembered is None:
                return self._read_and_answer(message, source, Transport.UDP, wall_s)
        front, start, tally, kind = remembered
        if self._limiter is not None and (more := self._limiter.take(source, kind, wall_s)) < 0:
            return self._above_limit(message, more)
        self._tallies[tally] += 1
        return message[:2] + front + message[start:]

    def answer_tcp(self, message: bytes, source: str, wall_s: float) -> bytes | None:
        """See `answer`."""
        return self._read_and_answer(message, source, Transport.TCP, wall_s)

    def _forget(self, wall_s: float) -> None:
        self._generation = self._zones.generation
        self._from_s, self._until_s = wall_s, wall_s + MEMO_S
        self._memo.clear()
        self._patterns.clear()

    def _remembered(self, message: bytes, source: str) -> Remembered | None:
        """What was last asked longer ago, and what is for this resolver alone."""
        memo = self._memo
        return memo.find(message, len(message)) or memo.find((message, source), len(message))

    def _alike(self, message: bytes) -> Remembered | None:
        """What another network was answered that is answered the same: a third of the work of a new answer."""
        remembered = self._patterns.remembered(message)
        if remembered is not None:
            self._memo.keep(message[2:], len(message), remembered)
        return remembered

    def _read_and_answer(self, message: bytes, source: str, transport: Transport, wall_s: float) -> bytes | None:
        query = self._patterns.query(message) or read_query(message)
        if query is None:
            self._silent[transport] += 1
            return None
        edns = query.edns
        judged = None
        if self._cookies is not None and edns is not None and edns.cookie:
            judged = self._cookies.judge(edns.cookie, source, wall_s)
            self._bad_cookies += judged.is_bad
        if isinstance(query, Refusal):
            made = self._refused(query, query.rcode, judged)
        elif not query.question:
            made = self._refused(query, _rcode_of_cookie(judged), judged)
        elif transport is Transport.TCP:
            made = self._made(query, source, MAX_TCP_BYTES, wall_s, has_cookie=judged is not None)
        else:
            made = self._made_or_remembered(query, message, source, wall_s, has_cookie=judged is not None)
        is_limited = transport is Transport.UDP and not (judged is not None and judged.is_valid)
        if is_limited and self._limiter is not None and (more := self._limiter.take(source, made.kind, wall_s)) < 0:
            return self._above_limit_of(query, judged, more)
        self._tallies[_tally(made, transport)] += 1
        return message[:2] + made.front + _address(edns) + _cookie_option(judged)

    def _made_or_remembered(
        self, query: Query, message: bytes, source: str, wall_s: float, *, has_cookie: bool
    ) -> _Made:
        """Over UDP. What comes again letter by letter is remembered by its octets, what has a cookie or capitals of
        chance in it (draft-vixie-dnsext-dns0x20) by what it means."""
        edns, question = query.edns, query.question
        limit_bytes = MIN_PAYLOAD_BYTES if edns is None else min(edns.payload_bytes, MAX_PAYLOAD_BYTES)
        name_bytes = len(question) - 4
        if not has_cookie and question[:name_bytes].islower():
            made = self._made(query, source, limit_bytes, wall_s, has_cookie=False)
            kept = self._remember_octets(message, source, made, edns)
            if made.likeness is not None:
                self._patterns.keep(message, query, made.likeness, kept)
            return made
        key = (question[:name_bytes].lower(), *_meaning(query, limit_bytes), has_cookie)
        key_bytes = len(question) + _MEANING_BYTES
        remembered = self._memo.find(key, key_bytes) or self._memo.find((key, source), key_bytes)
        if remembered is None:
            made = self._made(query, source, limit_bytes, wall_s, has_cookie=has_cookie)
            of_whom: Hashable = (key, source) if made.is_for_one else key
            self._memo.keep(of_whom, key_bytes, (made.front, 0, _tally(made, Transport.UDP), made.kind))
            return made
        front, _, tally, kind = remembered
        front = front[:10] + question + front[10 + len(question) :]
        return _Made(front, tally % _RCODES, tally >= _TALLY_TRUNCATED, Kind(kind), False)

    def _remember_octets(self, message: bytes, source: str, made: _Made, edns: Edns | None) -> Remembered:
        address = _address(edns)
        front, start = made.front, len(message)
        if message.endswith(address):
            start -= len(address)
        else:
            front += address
        key: Hashable = (message[2:], source) if made.is_for_one else message[2:]
        remembered = (front, start, _tally(made, Transport.UDP), made.kind)
        self._memo.keep(key, len(message), remembered)
        return remembered

    def _made(self, query: Query, source: str, limit_bytes: int, wall_s: float, *, has_cookie: bool) -> _Made:
        edns = query.edns
        subnet = None if edns is None else edns.subnet
        found = self._found(query, source, wall_s)
        opt = b"" if edns is None else self._opt(edns, found.rcode, found.scope_prefix, has_cookie=has_cookie)
        after_bytes = len(_address(edns)) + (_OPTION_HEAD_BYTES + COOKIE_BYTES) * has_cookie
        encoded, is_truncated = encode_response(query, found, opt, Room(limit_bytes, after_bytes))
        is_for_one = subnet is None and found.scope_prefix > 0
        likeness = found.likeness if found.scope_prefix else all_alike
        return _Made(encoded[2:], found.rcode, is_truncated, _kind(found), is_for_one, likeness)

    def _found(self, query: Query, source: str, wall_s: float) -> ZoneAnswer:
        edns, labels, qtype = query.edns, query.labels, query.qtype
        if qtype in _IN_NO_ZONE:
            return _no_zone(_IN_NO_ZONE[qtype])
        if query.qclass != IN:
            return _no_zone(Rcode.REFUSED)
        zone = self._zones.zone_of(labels, qtype)
        if zone is None:
            return _no_zone(Rcode.REFUSED)
        client = client_at(source) if edns is None or edns.subnet is None else edns.subnet.client()
        found = zone.answer(labels, qtype, client)
        signer = None if self._signers is None else self._signers.signer_of(zone.apex)
        is_dnssec_ok = edns is not None and edns.is_dnssec_ok
        if len(found.authority) > 1 and not is_dnssec_ok:
            found = _without_ds(found)
        if signer is None:
            return found
        return signer.signed(found, qtype, wall_s) if is_dnssec_ok else signer.unsigned(found, qtype, wall_s)

    def _refused(self, query: Query | Refusal, rcode: Rcode, judged: JudgedCookie | None) -> _Made:
        kind = Kind.ANSWER if rcode is Rcode.NOERROR else Kind.ERROR
        return _Made(self._without_records(query, rcode, judged, 0)[2:], rcode, False, kind, False)

    def _without_records(self, query: Query | Refusal, rcode: Rcode, judged: JudgedCookie | None, flags: int) -> bytes:
        """A response up to the address of the client subnet."""
        edns = query.edns
        opt = b"" if edns is None else self._opt(edns, rcode, 0, has_cookie=judged is not None)
        flags |= query.opcode << 11 | RECURSION_DESIRED_BIT * query.is_recursion_desired
        return header_and_question(query.id, flags, query.question, rcode, opt)

    def _opt(self, edns: Edns, rcode: int, scope_prefix: int, *, has_cookie: bool) -> bytes:
        """The OPT record up to the address of the client subnet. Of the options that are asked for those that are known
        come back (RFC 6891 6.1.2), and nothing that was not asked for."""
        options = b""
        if edns.wants_nsid and self._nsid:
            options = NSID_OPTION.to_bytes(2, "big") + len(self._nsid).to_bytes(2, "big") + self._nsid
        if edns.subnet is not None:
            options += edns.subnet.option_head(scope_prefix)
        after_bytes = len(_address(edns)) + (_OPTION_HEAD_BYTES + COOKIE_BYTES) * has_cookie
        head = opt_record(
            MAX_PAYLOAD_BYTES, rcode, is_dnssec_ok=edns.is_dnssec_ok, options_bytes=len(options) + after_bytes
        )
        return head + options

    def _above_limit(self, message: bytes, more: int) -> bytes | None:
        """For a message that was a question before."""
        query = read_query(message)
        assert query is not None
        return self._above_limit_of(query, None, more)

    def _above_limit_of(self, query: Query | Refusal, judged: JudgedCookie | None, more: int) -> bytes | None:
        """Nothing, or as little as it takes for whoever is really there to ask again: over TCP, or with the cookie."""
        assert self._limiter is not None
        self._limited += 1
        if not self._limiter.is_slip(more):
            return None
        self._slipped += 1
        if judged is None:
            rcode, flags, tally = Rcode.NOERROR, TRUNCATED_BIT, Rcode.NOERROR + _TALLY_TRUNCATED
        else:
            rcode, flags, tally = Rcode.BADCOOKIE, 0, int(Rcode.BADCOOKIE)
        self._tallies[tally] += 1
        return self._without_records(query, rcode, judged, flags) + _address(query.edns) + _cookie_option(judged)


def _no_zone(rcode: Rcode) -> ZoneAnswer:
    return ZoneAnswer(rcode, is_authoritative=False)


def _rcode_of_cookie(judged: JudgedCookie | None) -> Rcode:
    """Of a message without a question (RFC 7873 5.4), which means nothing where cookies are not spoken."""
    if judged is None:
        return Rcode.FORMERR
    return Rcode.BADCOOKIE if judged.is_bad else Rcode.NOERROR


def _without_ds(found: ZoneAnswer) -> ZoneAnswer:
    """Whether a delegated zone is signed is told to those who want to know (RFC 3225 3)."""
    return replace(found, authority=tuple(rrset for rrset in found.authority if rrset.rrtype != Rrtype.DS))


def _kind(found: ZoneAnswer) -> Kind:
    if found.rcode in _OF_ZONES:
        return _ABSENCE if found.rcode or (found.is_authoritative and not found.answer) else _ANSWER
    return Kind.ERROR


def _tally(made: _Made, transport: Transport) -> int:
    return made.rcode + _TALLY_TRUNCATED * made.is_truncated + _TALLY_TCP * (transport is Transport.TCP)


def _meaning(query: Query, limit_bytes: int) -> tuple[Hashable, ...]:
    """Everything that an answer over UDP depends on beside the name and the cookie."""
    edns = query.edns
    of_edns = None if edns is None else (edns.is_dnssec_ok, edns.wants_nsid, edns.subnet)
    return (query.qtype, query.qclass, query.is_recursion_desired, limit_bytes, of_edns)


def _address(edns: Edns | None) -> bytes:
    """What is repeated of the client subnet at the end of the options."""
    return b"" if edns is None or edns.subnet is None else edns.subnet.address


def _cookie_option(judged: JudgedCookie | None) -> bytes:
    if judged is None:
        return b""
    return COOKIE_OPTION.to_bytes(2, "big") + len(judged.cookie).to_bytes(2, "big") + judged.cookie
