"""The numbers of the wire: response codes, types and classes (RFC 1035, 6891, 8482; the registry of RFC 6895)."""

from __future__ import annotations

from enum import IntEnum


class Rcode(IntEnum):
    """How a question was taken. Above 15 it needs EDNS to be said."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    BADVERS = 16
    BADCOOKIE = 23


class Rrtype(IntEnum):
    """The types that mean something here; every other is only a number."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    DNAME = 39
    OPT = 41
    DS = 43
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    CDS = 59
    CDNSKEY = 60
    SVCB = 64
    HTTPS = 65
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    MAILB = 253
    MAILA = 254
    ANY = 255
    ALIAS = 65401


IN = 1
"""The Internet class, the only one in which there is anything here."""

QUERY = 0
"""The opcode of a question."""
