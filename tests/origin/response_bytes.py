"""Responses as upstreams may send them, by name."""

from __future__ import annotations

from cdn.origin.upstream import UpstreamFault

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 3\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

BAD_HEADS: dict[str, tuple[bytes, UpstreamFault]] = {
    "two different lengths": (
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        UpstreamFault.WRONG_LENGTH,
    ),
    "two equal lengths": (OK + LENGTH + LENGTH + b"\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a list of lengths": (OK + b"Content-Length: 3, 3\r\n\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a negative length": (OK + b"Content-Length: -3\r\n\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a signed length": (OK + b"Content-Length: +3\r\n\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a length of 19 digits": (OK + b"Content-Length: 1000000000000000000\r\n\r\n", UpstreamFault.WRONG_LENGTH),
    "an empty length": (OK + b"Content-Length:\r\n\r\n", UpstreamFault.WRONG_LENGTH),
    "a hexadecimal length": (OK + b"Content-Length: 0x3\r\n\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a length with a point": (OK + b"Content-Length: 3.0\r\n\r\nabc", UpstreamFault.WRONG_LENGTH),
    "a length in other digits": (OK + b"Content-Length: \xb2\r\n\r\nab", UpstreamFault.WRONG_LENGTH),
    "a length and a coding": (OK + LENGTH + CHUNKED + b"\r\n0\r\n\r\n", UpstreamFault.WRONG_LENGTH),
    "a coding and a length": (OK + CHUNKED + LENGTH + b"\r\n0\r\n\r\n", UpstreamFault.WRONG_LENGTH),
    "gzip, chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "gzip": (OK + b"Transfer-Encoding: gzip\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "identity": (OK + b"Transfer-Encoding: identity\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "chunked twice": (OK + CHUNKED + CHUNKED + b"\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "chunked, gzip": (OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "an empty coding": (OK + b"Transfer-Encoding:\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "chunked;q=1": (OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n", UpstreamFault.UNKNOWN_TRANSFER_CODING),
    "chunked in HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        UpstreamFault.UNKNOWN_TRANSFER_CODING,
    ),
    "bare LF everywhere": (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", UpstreamFault.MALFORMED_HEAD),
    "bare LF after a field": (OK + b"A: b\nC: d\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "bare LF at the end": (OK + b"A: b\r\n\n", UpstreamFault.MALFORMED_HEAD),
    "bare CR in a value": (OK + b"A: b\rC: d\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "CR CR LF": (OK + b"A: b\r\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a folded field": (OK + b"A: b\r\n c\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a fold before the first field": (OK + b" A: b\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "NUL in a value": (OK + b"A: b\0c\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "NUL in a name": (OK + b"A\0: b\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "NUL in the reason": (b"HTTP/1.1 200 O\0K\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "DEL in a value": (OK + b"A: b\x7f\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a space before the colon": (OK + b"Content-Length : 3\r\n\r\nabc", UpstreamFault.MALFORMED_HEAD),
    "a field without a colon": (OK + b"Hello\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a field without a name": (OK + b": a\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a name that is no token": (OK + b"A(b): c\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "an empty line first": (b"\r\n" + OK + b"\r\n", UpstreamFault.MALFORMED_HEAD),
    "HTTP/0.9": (b"<html>hello</html>", UpstreamFault.MALFORMED_HEAD),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", UpstreamFault.MALFORMED_HEAD),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "HTTP/1.2": (b"HTTP/1.2 200 OK\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "lower-case http": (b"http/1.1 200 OK\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "two spaces before the status": (b"HTTP/1.1  200 OK\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "status 099": (b"HTTP/1.1 099 Low\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "status 600": (b"HTTP/1.1 600 High\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "no status": (b"HTTP/1.1\r\n\r\n", UpstreamFault.MALFORMED_HEAD),
    "101 that nobody asked for": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        UpstreamFault.UNASKED_UPGRADE,
    ),
    "one huge field": (OK + b"A: " + b"b" * 70_000 + b"\r\n\r\n", UpstreamFault.HEAD_TOO_LARGE),
    "a huge reason": (b"HTTP/1.1 200 " + b"b" * 70_000 + b"\r\n\r\n", UpstreamFault.HEAD_TOO_LARGE),
    "fields without end": (OK + b"A: b\r\n" * 20_000, UpstreamFault.HEAD_TOO_LARGE),
    "257 fields": (OK + b"A: b\r\n" * 257 + b"\r\n", UpstreamFault.HEAD_TOO_LARGE),
    "17 interim responses": (b"HTTP/1.1 102 Processing\r\n\r\n" * 17, UpstreamFault.TOO_MANY_INTERIM),
    "interim responses and then nonsense": (
        b"HTTP/1.1 103 Early\r\n\r\nGET / HTTP/1.1\r\n",
        UpstreamFault.MALFORMED_HEAD,
    ),
}

BAD_CHUNKS: dict[str, bytes] = {
    "no digits": b"\r\nabc\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nabc\r\n0\r\n\r\n",
    "signed": b"+3\r\nabc\r\n0\r\n\r\n",
    "negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "a space behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "16 digits": b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "bare LF behind the size": b"3\nabc\r\n0\r\n\r\n",
    "bare CR behind the size": b"3\rabc\r\n0\r\n\r\n",
    "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "shorter than its size": b"5\r\nabc\r\n0\r\n\r\n",
    "bare LF behind the chunk": b"3\r\nabc\n0\r\n\r\n",
    "an extension with NUL": b"3;a=\0\r\nabc\r\n0\r\n\r\n",
    "an extension without end": b"3;" + b"a" * 300,
    "a trailer without a colon": b"3\r\nabc\r\n0\r\nab\r\n\r\n",
    "a trailer that folds": b"3\r\nabc\r\n0\r\na: b\r\n c\r\n\r\n",
    "a trailer with a bare LF": b"3\r\nabc\r\n0\r\na: b\n\r\n",
    "bare LF at the end": b"3\r\nabc\r\n0\r\n\n",
    "65 trailers": b"3\r\nabc\r\n0\r\n" + b"a: b\r\n" * 65 + b"\r\n",
    "trailers over 16 KiB": b"3\r\nabc\r\n0\r\na: " + b"b" * 17_000 + b"\r\n\r\n",
    "trailers without a line's end": b"3\r\nabc\r\n0\r\na: " + b"b" * 17_000,
    "a negative last chunk": b"3\r\nabc\r\n-0\r\n\r\n",
}
"""Contents behind a chunked head; all are malformed-content, some after the part b"abc"."""

WHOLE: dict[str, tuple[str, bytes, int, bytes]] = {
    "a length": ("GET", OK + LENGTH + b"\r\nabc", 200, b"abc"),
    "a length of nothing": ("GET", OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "a length with zeros before": ("GET", OK + b"Content-Length: 003\r\n\r\nabc", 200, b"abc"),
    "no reason": ("GET", b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\nabc", 200, b"abc"),
    "no space for a reason": ("GET", b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nabc", 200, b"abc"),
    "chunks": ("GET", OK + CHUNKED + b"\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 200, b"abc"),
    "no chunk": ("GET", OK + CHUNKED + b"\r\n0\r\n\r\n", 200, b""),
    "an upper-case coding": ("GET", OK + b"Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc"),
    "chunks with extensions": (
        "GET",
        OK + CHUNKED + b'\r\n03;a=b;c="d e"\r\nabc\r\n000;x\r\n\r\n',
        200,
        b"abc",
    ),
    "HEAD with a length": ("HEAD", OK + LENGTH + b"\r\n", 200, b""),
    "HEAD with a coding": ("HEAD", OK + CHUNKED + b"\r\n", 200, b""),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 with a length": ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b""),
    "304 with a length": ("GET", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n", 304, b""),
    "interim responses first": (
        "GET",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n"
        + OK
        + LENGTH
        + b"\r\nabc",
        200,
        b"abc",
    ),
    "HTTP/1.0 with a length": ("GET", b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\nabc", 200, b"abc"),
    "content like a head": ("GET", OK + b"Content-Length: 19\r\n\r\n" + OK + b"\r\n", 200, OK + b"\r\n"),
    "16 interim responses": ("GET", b"HTTP/1.1 103 E\r\n\r\n" * 16 + OK + LENGTH + b"\r\nabc", 200, b"abc"),
    "status 599": ("GET", b"HTTP/1.1 599 Odd\r\n" + LENGTH + b"\r\nabc", 599, b"abc"),
}
"""Method, response, status, content: whole without the end of the connection."""

UNTIL_CLOSE: dict[str, bytes] = {
    "HTTP/1.1": OK + b"\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nabc",
    "keep-alive that cannot be": OK + b"Connection: keep-alive\r\n\r\nabc",
}
"""Responses with the content b"abc", whole by a clean close alone."""
