"""A zone in the standard text form (RFC 1035 5), read and checked, as the records that the journal keeps."""

from __future__ import annotations

from base64 import b64encode

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.nsbase
import dns.tokenizer
import dns.transaction
import dns.zonefile

from cdn.dns.code import Rrtype
from cdn.dns.zone_check import Fault, Line, faults_of
from cdn.errors import InvalidInput, TooLarge
from cdn.journal.record import ZoneRecords, ZoneSet

MAX_ZONE_FILE_BYTES = 4_194_304
"""Of text: the zone has to fit a record of the journal, which takes a quarter of that, and comments are free."""

MAX_ZONE_RECORDS = 20_000
"""More than a record of the journal holds of the shortest; it ends a `$GENERATE` that would never end."""

MAX_WORD_CHARACTERS = 1_024
"""Of a TTL, a class, a type, and of every word of a directive. A TTL is read digit by digit, each of which costs as
much time as there are digits before it; and what a line of `$GENERATE` says is there 20,000 times."""

MAX_FAULTS = 100
"""Faults told of one file: whoever mends so many reads it again."""

MAX_TTL_S = 2**31 - 1
"""RFC 2181 8."""

_NO_ORIGIN = dns.name.Name((b"no origin was given", b""))
_NO_ORIGIN_WIRE = _NO_ORIGIN.to_digestable()


class _Alias(dns.rdtypes.nsbase.NSBase):
    """The name of a site or preview in the CDN's zone."""


dns.rdata.register_type(_Alias, Rrtype.ALIAS, "ALIAS", is_singleton=True)


def read_zone_file(text: str, *, file: str, cdn_zone: str, name: str | None = None) -> ZoneSet:
    """The zone that `text` describes, with rdata in canonical form and order, each once (RFC 4034 6, RFC 2181 5).

    `file` is what faults call the text. `cdn_zone` is the CDN's own zone, where the targets of ALIAS lines are. `name`
    is the zone's; None: the owner of its SOA record. Beside what RFC 1035 5.1 has, `$TTL` (RFC 2308 4) and `$GENERATE`
    are understood; `$INCLUDE` is not. It takes about 100 us a record: call it in a thread.

    Raises InvalidInput: `message` says the first fault, `details` every one, each with its file and line; TooLarge
    above MAX_ZONE_FILE_BYTES and MAX_ZONE_RECORDS.
    """
    if len(text) > MAX_ZONE_FILE_BYTES:
        raise TooLarge(f"{file} has {len(text)} letters, a zone file has at most {MAX_ZONE_FILE_BYTES}", field="zone")
    origin = None if name is None else _zone_name(name)
    lines = _read(text, file, origin)
    apex = origin or next((line.owner for line in lines if line.rrtype == dns.rdatatype.SOA), None)
    if apex is None:
        raise _refused(file, [Fault(1, "the zone has no SOA record, so nobody can say what it is: add one")])
    if not len(apex) > 1:
        raise _refused(file, [Fault(1, "this is the root zone, which is not ours to answer for")])
    faults = faults_of(lines, apex, dns.name.from_text(cdn_zone))
    if faults:
        raise _refused(file, faults)
    return ZoneSet(_text(apex), _rrsets(lines))


def _zone_name(name: str) -> dns.name.Name:
    try:
        return dns.name.from_text(name).canonicalize()
    except (dns.exception.DNSException, UnicodeError) as exc:
        raise InvalidInput(f"{name[:80]!r} is no name of a zone: {exc}", field="name") from exc


def _read(text: str, file: str, origin: dns.name.Name | None) -> list[Line]:
    """Every record with its line. Raises InvalidInput at the first that cannot be read, and for all that cannot be."""
    tokens = _Tokens(text.removeprefix("\ufeff"), file)  # which some editors begin files with
    collected = _Collected(tokens, origin or _NO_ORIGIN)
    reader = _Reader(tokens, dns.rdataclass.IN, collected)
    reader.zone_origin = dns.name.root  # it would pass over records outside of the zone without a word
    try:
        reader.read()
    except InvalidInput:
        raise
    except Exception as exc:  # noqa: BLE001 - what is wrong with a text comes in every kind of error there is
        collected.faults.append(Fault(tokens.line, _sentence(exc, tokens)))
    if collected.faults:
        raise _refused(file, collected.faults)
    return collected.lines


class _Tokens(dns.tokenizer.Tokenizer):
    """Knows on which line the present record began."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.line = 1
        self._is_directive = False

    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:
        """See there. Only what begins a line is asked for with both."""
        begins_line = want_leading and want_comment
        if begins_line:
            self.line = self.line_number
        token = super().get(want_leading, want_comment)
        if begins_line:
            self._is_directive = token.is_identifier() and token.value.startswith("$")
        if self._is_directive:
            _check_word(token)
        return token


class _Reader(dns.zonefile.Reader):
    """Looks at the length of what comes before the data of a record."""

    def _get_identifier(self) -> dns.tokenizer.Token:
        token: dns.tokenizer.Token = super()._get_identifier()  # type: ignore[no-untyped-call]
        _check_word(token)
        return token


def _check_word(token: dns.tokenizer.Token) -> None:
    if len(token.value) > MAX_WORD_CHARACTERS:
        raise ValueError(
            f"{token.value[:40]!r} goes on for {len(token.value)} characters: before the data of a record a word has "
            f"at most {MAX_WORD_CHARACTERS}"
        )


class _Collected(dns.transaction.Transaction):
    """Takes the records that the reader finds, with their lines."""

    def __init__(self, tokens: _Tokens, origin: dns.name.Name) -> None:
        super().__init__(dns.zonefile.RRSetsReaderManager(origin), True, False)
        self.lines: list[Line] = []
        self.faults: list[Fault] = []
        self._tokens = tokens

    def _set_origin(self, origin: dns.name.Name | None) -> None:
        """`$ORIGIN` says where names are from there on, not what the zone is."""

    def add(self, *args: object) -> None:
        """One record, as a name, a TTL and an rdata."""
        owner, ttl_s, rdata = args
        assert isinstance(owner, dns.name.Name)
        assert isinstance(ttl_s, int)
        assert isinstance(rdata, dns.rdata.Rdata)
        number = self._tokens.line
        if len(self.lines) >= MAX_ZONE_RECORDS:
            raise TooLarge(
                f"{self._tokens.filename}:{number}: the zone has more than {MAX_ZONE_RECORDS} records: delegate parts "
                "of it to zones of their own",
                field="zone",
            )
        owner, wire = owner.canonicalize(), rdata.to_digestable()
        if owner.is_subdomain(_NO_ORIGIN) or _NO_ORIGIN_WIRE in wire:
            raise _refused(
                self._tokens.filename,
                [*self.faults, Fault(number, "a name without a final dot, and nothing says what it is relative to: "
                                             "begin the file with $ORIGIN and the zone's name, or give --name")],
            )  # fmt: skip
        if ttl_s > MAX_TTL_S:
            self.faults.append(Fault(number, f"the TTL is {ttl_s} s, at most {MAX_TTL_S} can be said (RFC 2181 8)"))
        self.lines.append(Line(number, owner, int(rdata.rdtype), ttl_s, wire))


def _rrsets(lines: list[Line]) -> tuple[ZoneRecords, ...]:
    rrsets: dict[tuple[dns.name.Name, int], tuple[int, set[bytes]]] = {}
    for line in lines:
        rrsets.setdefault((line.owner, line.rrtype), (line.ttl_s, set()))[1].add(line.rdata)
    return tuple(
        ZoneRecords(_text(owner), rrtype, ttl_s, tuple(b64encode(rdata).decode("ascii") for rdata in sorted(rdatas)))
        for (owner, rrtype), (ttl_s, rdatas) in rrsets.items()
    )


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)


def _sentence(exc: Exception, tokens: _Tokens) -> str:
    said = str(exc).removeprefix(f"{tokens.filename}:{tokens.line_number}: ")
    if said == dns.exception.UnexpectedEnd.__doc__:
        return "the text ends within a record: a quote or a parenthesis is not closed"
    if said == dns.exception.SyntaxError.__doc__:
        return "this cannot be read as a record: write NAME TTL TYPE DATA, with data that fit TYPE (A: 192.0.2.1)"
    return said or type(exc).__name__


def _refused(file: str, faults: list[Fault]) -> InvalidInput:
    told = tuple(f"{file}:{fault.line}: {fault.sentence}" for fault in sorted(faults, key=lambda each: each.line))
    return InvalidInput(told[0], field="zone", details=told[:MAX_FAULTS])
