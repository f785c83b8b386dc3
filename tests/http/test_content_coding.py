from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.content_coding import (
    CODINGS,
    MAX_CODED_BYTES,
    MAX_TAGS_LENGTH,
    MIN_CODED_BYTES,
    coded_head,
    may_be_coded,
    preferred_coding,
    uncoded_entity_tags,
    varied_head,
)
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("deflate, compress", None),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0.5, gzip", "gzip"),
        ("gzip;q=1.0, br;q=0.8, zstd;q=0", "gzip"),
        ("br;q=0.001", "br"),
        ("br;q=0", None),
        ("br;q=0.000", None),
        ("br ; q=0.5,gzip\t;\tQ=0.6", "gzip"),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.4, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("identity;q=0, *", "zstd"),
        ("identity;q=0.9, *;q=0.1", None),
        ("gzip, gzip;q=0", None),
        ("gzip;q=0, gzip", None),
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=", None),
        ("gzip;level=9", None),
        ("gzip br", None),
        (",, gzip ,", "gzip"),
        ('"gzip"', None),
    ],
)
def test_preferred_coding(field: str | None, expected: str | None) -> None:
    assert preferred_coding(field, CODINGS) == expected


def test_only_what_is_available_is_preferred() -> None:
    assert preferred_coding("zstd, br, gzip", ()) is None
    assert preferred_coding("zstd, br, gzip;q=0.1", ("gzip",)) == "gzip"
    assert preferred_coding("zstd, br", ("gzip",)) is None


NAMES = ("zstd", "br", "gzip", "identity", "deflate", "*")
QUALITIES = {"": 1000, ";q=1": 1000, ";q=0": 0, ";q=0.5": 500, "; q=0.25": 250, ";q=0.9": 900, ";q=0.001": 1}


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(QUALITIES))))
def test_the_preferred_one_is_the_best_that_is_acceptable(asked: dict[str, str]) -> None:
    """A plain reading of section 12.5.3, each coding judged by itself."""

    def liked(coding: str) -> int:
        if coding in asked:
            return QUALITIES[asked[coding]]
        return QUALITIES[asked["*"]] if "*" in asked and coding != "identity" else 0

    chosen = preferred_coding(", ".join(name + quality for name, quality in asked.items()), CODINGS)
    best = max(liked(coding) for coding in CODINGS)
    if chosen is None:
        assert best == 0 or liked("identity") > best
    else:
        assert liked(chosen) == best > 0
        assert liked("identity") <= best
        assert all(liked(better) < best for better in CODINGS[: CODINGS.index(chosen)])


def head(*lines: tuple[str, str], status: int = 200) -> ResponseHead:
    return ResponseHead(status, Fields(lines))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/CSS", True),
        ("text/event-stream", True),
        ("application/json", True),
        ("application/javascript ;charset=utf-8", True),
        ("application/ld+json", True),
        ("application/rss+xml", True),
        ("image/svg+xml", True),
        ("application/wasm", True),
        ("font/ttf", True),
        ("image/x-icon", True),
        ("font/woff2", False),
        ("image/png", False),
        ("image/webp", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/gzip", False),
        ("application/pdf", False),
        ("application/octet-stream", False),
        ("multipart/byteranges; boundary=a", False),
        ("text", False),
        ("text/", False),
        ("text/html, text/css", False),
        ("", False),
    ],
)
def test_types_that_become_smaller(content_type: str, expected: bool) -> None:
    assert may_be_coded(head(("content-type", content_type)), 5000) is expected


TEXT = ("content-type", "text/plain")


def test_sizes_worth_coding() -> None:
    sizes = (0, MIN_CODED_BYTES - 1, MIN_CODED_BYTES, MAX_CODED_BYTES, MAX_CODED_BYTES + 1)
    assert [may_be_coded(head(TEXT), size) for size in sizes] == [False, False, True, True, False]


@pytest.mark.parametrize(
    "given",
    [
        head(),
        head(TEXT, status=203),
        head(TEXT, status=206),
        head(TEXT, status=404),
        head(TEXT, ("content-encoding", "br")),
        head(TEXT, ("content-encoding", "identity")),
        head(TEXT, ("content-range", "bytes 0-1/2")),
        head(TEXT, ("signature-input", 'sig=("etag")')),
        head(TEXT, ("cache-control", "no-transform")),
        head(TEXT, ("cache-control", "max-age=5 , No-Transform")),
        head(TEXT, ("cache-control", "max-age=5"), ("cache-control", "no-transform")),
        head(TEXT, ("cache-control", "no-transform=1")),
        head(TEXT, ("cdn-cache-control", "no-transform;x")),
        head(TEXT, ("surrogate-control", "no-transform")),
    ],
)
def test_what_is_never_coded(given: ResponseHead) -> None:
    assert not may_be_coded(given, 5000)


def test_other_directives_allow_coding() -> None:
    assert may_be_coded(head(TEXT, ("cache-control", "max-age=5, no-transformers, public")), 5000)


def test_the_coded_form_is_another_representation() -> None:
    identity = head(
        TEXT,
        ("etag", '"x"'),
        ("content-length", "5000"),
        ("content-md5", "AAAA"),
        ("digest", "sha-256=AAAA"),
        ("content-digest", "sha-256=:AAAA:"),
        ("repr-digest", "sha-256=:AAAA:"),
        ("vary", "Origin"),
        ("last-modified", "Sat, 14 Nov 2026 00:00:00 GMT"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    )
    assert coded_head(identity, "br") == head(
        TEXT,
        ("etag", '"x-br"'),
        ("last-modified", "Sat, 14 Nov 2026 00:00:00 GMT"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("vary", "Origin, Accept-Encoding"),
        ("content-encoding", "br"),
    )


@pytest.mark.parametrize(
    ("etag", "expected"),
    [('W/"x"', 'W/"x-gzip"'), ('""', '"-gzip"'), ("x", None), ('"x", "y"', None), ('"\xe9"', '"\xe9-gzip"')],
)
def test_entity_tag_of_the_coded_form(etag: str, expected: str | None) -> None:
    assert coded_head(head(("etag", etag)), "gzip").fields.get("etag") == expected


def test_without_entity_tag_the_coded_form_has_none() -> None:
    assert "etag" not in coded_head(head(TEXT), "zstd").fields


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        ((), "Accept-Encoding"),
        (("Cookie",), "Cookie, Accept-Encoding"),
        (("Cookie", "Origin"), "Cookie, Origin, Accept-Encoding"),
        (("",), "Accept-Encoding"),
        (("*",), "*"),
        (("Cookie, *",), "Cookie, *"),
        (("accept-encoding",), "accept-encoding"),
        (("Cookie ,Accept-Encoding",), "Cookie ,Accept-Encoding"),
    ],
)
def test_vary_says_that_codings_differ(vary: tuple[str, ...], expected: str) -> None:
    varied = varied_head(head(*(("vary", value) for value in vary), TEXT))
    assert varied.fields.get("vary") == expected
    assert varied_head(varied) == varied
    assert varied.fields.get("content-type") == "text/plain"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('"x-br"', '"x-br", "x"'),
        ('W/"x-gzip","y" , "z-zstd"', 'W/"x-gzip", W/"x", "y", "z-zstd", "z"'),
        ('"x-br", "x"', '"x-br", "x"'),
        ('"a-b-br"', '"a-b-br", "a-b"'),
        ('"br"', '"br"'),
        ('"-br"', '"-br", ""'),
        ('"x-deflate"', '"x-deflate"'),
        ("*", "*"),
        ("x-br", "x-br"),
        ("", ""),
    ],
)
def test_entity_tags_that_an_upstream_knows(field: str, expected: str) -> None:
    assert uncoded_entity_tags(field) == expected


def test_long_lists_of_entity_tags_stay_as_they_are() -> None:
    padding = "x" * (MAX_TAGS_LENGTH - len('"-br"'))
    assert uncoded_entity_tags(f'"{padding}-br"') == f'"{padding}-br", "{padding}"'
    assert uncoded_entity_tags(f'"{padding}x-br"') == f'"{padding}x-br"'


@given(st.text(alphabet='abc-W/"', max_size=12), st.sampled_from(CODINGS))
def test_coded_entity_tags_lead_back(text: str, coding: str) -> None:
    etag = coded_head(head(("etag", text)), coding).fields.get("etag")
    if etag is not None:
        assert uncoded_entity_tags(etag) == f"{etag}, {text}"


@pytest.mark.parametrize(
    "field", ["gzip;" * 20_000, "," * 100_000, "gzip;q=0." * 20_000, " " * 100_000, "br" + " \t" * 50_000]
)
def test_hostile_fields_take_little_time(field: str) -> None:
    started = time.process_time()
    preferred_coding(field, CODINGS)
    may_be_coded(head(("content-type", f"text/html{field}"), ("cache-control", field)), 5000)
    varied_head(head(("vary", field)))
    assert time.process_time() - started < 0.5


def test_what_a_client_accepts_is_not_read_without_end() -> None:
    assert preferred_coding("a, " * 330 + "gzip", ("gzip",)) == "gzip"
    assert preferred_coding("gzip, " + "a, " * 400, ("gzip",)) is None
    assert preferred_coding("*, " + "a, " * 400 + "gzip;q=0", ("gzip",)) is None, "nothing that may be refused"
