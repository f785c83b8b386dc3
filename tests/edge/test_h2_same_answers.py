"""A request has the same answer by HTTP/1.1 and by HTTP/2, field by field: hits, refusals, failures and streams."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import JOINED_BYTES, Validators
from cdn.edge.response import Response, Unsent
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client, settle
from tests.edge.h2_client import H2Client

OF_HTTP_1 = frozenset({"connection", "transfer-encoding"})
LIMITS = HttpLimits(max_request_line_bytes=200, max_fields_bytes=600, max_fields=12, max_content_bytes=1000)

PATHS = (
    *("/a", "/large", "/tagged", "/echo", "/echo?x=%41&y", "/unread", "/fails", "/splits", "/nothing", "/same"),
    *("/sized", "/chunks", "/breaks", "/unsent", "/%zz", "/../a", "/a%2fb", "//", "/a#b", "*", "/" + "x" * 300),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW")
FIELDS = (
    ("accept-encoding", "gzip, br"),
    ("cache-control", "no-cache"),
    ("cookie", "a=b; c=d"),
    ("expect", "100-continue"),
    ("expect", "200-ok"),
    ("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
    ("if-none-match", '"tag"'),
    ("if-none-match", '"other"'),
    ("if-range", '"tag"'),
    ("range", "bytes=1-2"),
    ("range", "bytes=900000-"),
    ("te", "trailers"),
    ("user-agent", "curl"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-long", "y" * 700),
    *((f"x-{number}", "z") for number in range(12)),
)
CONTENTS = (b"", b"", b"abc", b"x" * 1001)


@dataclass(frozen=True)
class Asked:
    """One request, for both."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    content: bytes


Answer = tuple[int, tuple[tuple[str, str], ...], bytes, tuple[tuple[str, str], ...]]
"""Status, fields in order but for those of HTTP/1.1 alone, content, trailers."""

BROKEN = (0, (), b"", ())
"""An answer that breaks off."""

REQUESTS = st.builds(
    Asked,
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.lists(st.sampled_from(FIELDS), max_size=5, unique_by=lambda field: field[0]).map(tuple),
    st.sampled_from(CONTENTS),
)


def application() -> EchoApplication:
    made = EchoApplication(max_content_bytes=500)
    made.remember("/a", b"hello")
    made.remember("/large", b"x" * (JOINED_BYTES + 1))
    made.remember("/tagged", b"with a tag").validators = Validators.ENTITY_TAG
    made.streams["/sized"] = Stream((b"abc", b"def"), 6)
    made.streams["/chunks"] = Stream((b"abc", b"", b"def"), None, trailers=(("x-sum", "1"), ("age", "7")))
    made.streams["/breaks"] = Stream((b"abc",), None, fails=True)
    made.responses["/unsent"] = Response(200, TEXT, Unsent(7))
    return made


async def by_h1(asked: Asked) -> Answer:
    client = Client(application(), LIMITS)
    lines = [f"{asked.method} {asked.path} HTTP/1.1", "host: a.example"]
    lines += [f"{name}: {value}" for name, value in asked.fields]
    if asked.content:
        lines.append(f"content-length: {len(asked.content)}")
    client.send("\r\n".join((*lines, "", "")).encode())
    await settle()
    if not client.transport.is_over and asked.content:
        client.send(asked.content)
    for _ in range(4):
        await settle()
    if client.transport.is_aborted:
        return BROKEN
    answers = read_responses(client.transport.sent, [asked.method])
    final = answers[-1]
    fields = tuple((name, value) for name, value in final.fields.items() if name not in OF_HTTP_1)
    return final.status, fields, final.content, tuple(final.trailers.items())


async def by_h2(asked: Asked) -> Answer:
    client = H2Client(application(), LIMITS)
    client.h2.config.validate_outbound_headers = False
    fields = list(asked.fields)
    if asked.content:
        fields.append(("content-length", str(len(asked.content))))
    stream_id = client.ask(asked.path, asked.method, fields, is_end=not asked.content)
    client.flush()
    await client.settle()
    answer = client.streams.get(stream_id)
    if asked.content and (answer is None or not (answer.is_whole or answer.reset is not None)):
        client.h2.send_data(stream_id, asked.content, end_stream=True)
        client.flush()
        await client.settle()
    answer = client.streams[stream_id]
    if not answer.is_whole:
        assert answer.reset is not None
        return BROKEN
    lines = tuple((name, value) for name, value in answer.fields if name != ":status")
    return answer.status, lines, answer.content, tuple(answer.trailers or ())


@settings(deadline=None, max_examples=250)
@given(REQUESTS)
@example(Asked("GET", "/a", (), b""))
@example(Asked("GET", "/tagged", (("if-none-match", '"tag"'),), b""))
@example(Asked("GET", "/tagged", (("range", "bytes=1-2"),), b""))
@example(Asked("GET", "/chunks", (("te", "trailers"),), b""))
@example(Asked("POST", "/echo", (("expect", "100-continue"),), b"abc"))
@example(Asked("TRACE", "/a", (), b""))
@example(Asked("OPTIONS", "*", (), b""))
@example(Asked("PUT", "/echo", (), b"x" * 1001))
@example(Asked("GET", "/a", (("x-long", "y" * 700),), b""))
@example(Asked("GET", "/breaks", (), b""))
def test_the_same_request_has_the_same_answer(asked: Asked) -> None:
    logging.disable(logging.CRITICAL)  # some of it fails on purpose
    try:
        one, other = asyncio.run(by_h1(asked)), asyncio.run(by_h2(asked))
    finally:
        logging.disable(logging.NOTSET)
    assert other == one


@pytest.mark.parametrize("path", ["/a", "/tagged", "/large"])
def test_hits_have_the_same_fields_in_the_same_order(path: str) -> None:
    answer = asyncio.run(by_h2(Asked("GET", path, (), b"")))
    assert [name for name, _ in answer[1]] == ["content-type", "content-length", "age", "date"]
