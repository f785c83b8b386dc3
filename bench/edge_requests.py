"""Requests as octets, in the files that `edge_load.c` replays."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpack import Encoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from bench.browsers import BROWSERS, FieldList, Kind, clients, fields_of
from bench.tls_certificates import zipf_ranks

NO_COUNTER = 0xFFFFFFFF
COUNTER = b"000000000000"
"""Where the load writes a number that no request had before."""

CLIENTS = 1000
"""Whose heads take turns in the workloads with browser-like heads."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_BYTES = 6 * 1024 * 1024
"""What browsers let come on one stream; the connection's window is larger, so neither holds a page up."""

VISIT_REQUESTS = 60
"""How many a connection of a browser lives for."""

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_KINDS = {"html": Kind.DOCUMENT, "css": Kind.STYLE, "js": Kind.SCRIPT, "webp": Kind.IMAGE, "woff2": Kind.FONT}


@dataclass(frozen=True, slots=True)
class Visit:
    """What one connection of a browser asks: paths, the page first."""

    paths: tuple[str, ...]


def write_scripts(path: Path, scripts: Iterable[Sequence[bytes]]) -> Path:
    """Each script is requests that one connection sends (or, in a loop, all of them in turns)."""
    with path.open("wb") as file:
        for script in scripts:
            for request in script:
                place = request.find(COUNTER)
                file.write(struct.pack("<II", len(request), NO_COUNTER if place < 0 else place) + request)
            file.write(struct.pack("<II", 0, NO_COUNTER))
    return path


def h1_request(path: str, host: str, fields: FieldList) -> bytes:
    """A GET over HTTP/1.1."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{_titled(name)}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode()


def identical(path: str, host: str, extra: FieldList) -> list[bytes]:
    """One head, that of one browser without cookies."""
    return [h1_request(path, host, _h1_fields(0, [], path) + extra)]


def browser_like(paths: Sequence[str], host: str, extra: FieldList, *, seed: int = 1) -> list[bytes]:
    """A thousand clients, each with the head of its browser and cookies of its own; `paths` take turns."""
    source = random.Random(seed)
    requests = [
        h1_request(paths[number % len(paths)], host, _h1_fields(number, cookies, paths[number % len(paths)]) + extra)
        for number, (_, cookies) in enumerate(clients(max(CLIENTS, len(paths)), seed))
    ]
    source.shuffle(requests)
    return requests


def never_repeating(path: str, host: str) -> list[bytes]:
    """The heads of all browsers with a cookie that counts: no head is ever the same as another."""
    return [
        h1_request(path, host, _h1_fields(number, [*cookies, f"visit={COUNTER.decode()}"], path))
        for number, (_, cookies) in enumerate(clients(len(BROWSERS), 1))
    ]


def by_zipf(paths: Sequence[str], host: str, *, count: int, seed: int) -> list[bytes]:
    """`count` requests of a thousand clients: the n-th of `paths` is asked for with a share of 1/n."""
    known = list(clients(CLIENTS, seed))
    source = random.Random(seed)
    requests = []
    for rank in zipf_ranks(len(paths), count, seed):
        number = source.randrange(CLIENTS)
        requests.append(h1_request(paths[rank], host, _h1_fields(number, known[number][1], paths[rank])))
    return requests


def h2_visits(pages: Sequence[Visit], host: str, *, connections: int, seed: int) -> list[list[bytes]]:
    """The octets of whole connections: preface, settings and a request for each path, its fields compressed as browsers
    do it: everything but the path enters the dynamic table."""
    return [
        _h2_script(pages[number % len(pages)], host, number, cookies)
        for number, (_, cookies) in enumerate(clients(connections, seed))
    ]


def h2_start(path: str, host: str) -> bytes:
    """What one connection says that asks one thing."""
    ((first, *_),) = h2_visits([Visit((path,))], host, connections=1, seed=1)
    return first


def _h2_script(visit: Visit, host: str, number: int, cookies: list[str]) -> list[bytes]:
    browser = BROWSERS[number % len(BROWSERS)]
    encoder, requests = Encoder(), []
    page = f"https://{host}{visit.paths[0]}"
    for place, path in enumerate(visit.paths):
        fields = fields_of(browser, _kind_of(path), page=page, cookies=cookies)
        block = encoder.encode([(":method", "GET")])
        block += encoder.encode([(":authority", host)])
        block += encoder.encode([(":scheme", "https")])
        block += _literal_path(path)
        block += encoder.encode([line for field in fields for line in _crumbs(field)])
        requests.append(_frame(1, 0x05, 1 + 2 * place, block))
    settings = struct.pack(">HIHIHI", 1, 65536, 2, 0, 4, WINDOW_BYTES)
    begin = PREFACE + _frame(4, 0, 0, settings) + _frame(8, 0, 0, struct.pack(">I", 15 * 1024 * 1024 - 65535))
    return [begin + requests[0], *requests[1:]]


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream_id) + payload


def _literal_path(path: str) -> bytes:
    """A literal that is not indexed, as browsers send paths: they seldom come twice."""
    coded: bytes = _HUFFMAN.encode(path.encode())
    assert len(coded) < 127
    return bytes((0x04, 0x80 | len(coded))) + coded


def _crumbs(field: tuple[str, str]) -> FieldList:
    """A cookie field is cut, so that cookies that stay are compressed though others change (RFC 9113 section 8.2.3)."""
    name, value = field
    return [(name, part) for part in value.split("; ")] if name == "cookie" else [field]


def _kind_of(path: str) -> Kind:
    return _KINDS.get(path.rpartition(".")[2], Kind.SCRIPT)


def _h1_fields(number: int, cookies: list[str], path: str) -> FieldList:
    """As over HTTP/2, without what only that has, and with Connection."""
    browser = BROWSERS[number % len(BROWSERS)]
    fields = fields_of(browser, _kind_of(path), page="https://hits.example/", cookies=cookies)
    return [("connection", "keep-alive"), *(field for field in fields if field[0] not in {"priority", "te"})]


def _titled(name: str) -> str:
    return name if name.startswith("sec-ch") else "-".join(part.capitalize() for part in name.split("-"))
