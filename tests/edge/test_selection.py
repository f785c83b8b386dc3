"""What of a representation is sent, and which fields go with it (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import pytest

from cdn.edge.selection import BOUNDARY_BYTES, Part, Selected, select, select_from
from cdn.http.content_coding import coded_head
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.range import ByteRange
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.target import Target
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import Representation, representation_of
from cdn.sites.settings import settings_from

NOW = 1_700_000_000.0
SIZE_BYTES = 2000
RULES = {"header_rules": [{"path": "/*", "fields": [["expires", "0"], ["access-control-allow-origin", "*"]]}]}


def file_of(status: int) -> Representation:
    return representation_of("/app.3f2a9c1b.js", FileEntry("ab" * 32, SIZE_BYTES), settings_from(RULES), status)


FILE = file_of(200)


def asking(method: str, fields: dict[str, str]) -> Request:
    lines = tuple((name.lower().replace("_", "-"), value) for name, value in fields.items())
    target = Target("/app.3f2a9c1b.js", None, "/app.3f2a9c1b.js")
    return Request(method, target, "blog.test", None, Fields(lines), "http")


def selected(method: str = "GET", **fields: str) -> Selected:
    return select(asking(method, fields), FILE, SIZE_BYTES, NOW)


def test_whole_and_part() -> None:
    assert selected() == Selected(200, Part.ALL, 0, SIZE_BYTES, FILE.fields)
    part = selected(range="bytes=2-3")
    assert (part.status, part.part, part.start, part.stop) == (206, Part.RANGE, 2, 4)
    assert dict(part.fields)["content-range"] == "bytes 2-3/2000"
    assert selected("HEAD", range="bytes=2-3") == selected("HEAD", range="bytes=9999-") == selected()
    assert selected(range="bytes=3-2") == selected()


def test_several_ranges() -> None:
    several = selected(range="bytes=1000-1009,0-4")
    assert (several.status, several.part) == (206, Part.RANGES)
    assert several.ranges == (ByteRange(1000, 1010), ByteRange(0, 5))
    assert several.layout is not None
    fields = dict(several.fields)
    assert fields["content-type"] == several.layout.content_type
    assert "content-range" not in fields
    assert [line for line in several.fields if line[0] == "content-type"] == [("content-type", fields["content-type"])]
    assert fields["etag"] == dict(FILE.fields)["etag"]
    content = several.content_of(bytes(SIZE_BYTES))
    assert len(content) == several.layout.size_bytes
    assert content.count(b"content-type: text/javascript") == 2


def test_ranges_that_become_one_are_sent_as_one() -> None:
    one = selected(range="bytes=0-9,10-19")
    assert (one.part, one.start, one.stop, one.layout) == (Part.RANGE, 0, 20, None)
    assert one.content_of(bytes(range(100))) == bytes(range(20))


def test_no_two_responses_have_the_same_boundary() -> None:
    """Nobody who writes content can foresee one."""
    boundaries = {str(dict(selected(range="bytes=0-4,1000-1009").fields)["content-type"]) for _ in range(20)}
    assert len(boundaries) == 20
    assert all(len(one.partition("boundary=")[2]) == 2 * BOUNDARY_BYTES for one in boundaries)


def test_not_modified_keeps_what_caches_need() -> None:
    fields = dict(selected(if_none_match="*").fields)
    assert "content-type" not in fields
    assert {"etag", "cache-control"} <= fields.keys()


@pytest.mark.parametrize(("asked", "status"), [({"range": "bytes=9999-"}, 416), ({"if_match": '"other"'}, 412)])
def test_a_refusal_is_not_kept_for_as_long_as_the_file(asked: dict[str, str], status: int) -> None:
    refused = selected(**asked)
    assert (refused.status, refused.part) == (status, Part.NOTHING)
    fields = dict(refused.fields)
    assert fields["cache-control"] == "no-store"
    assert "expires" not in fields
    assert fields["access-control-allow-origin"] == "*"
    assert ("content-range" in fields) == (status == 416)
    assert refused.content_of(b"abc") == b""


def test_a_page_for_what_is_absent_is_sent_whole() -> None:
    absent = select(asking("GET", {"range": "bytes=0-1", "if_none_match": "*"}), file_of(404), SIZE_BYTES, NOW)
    assert (absent.status, absent.part, absent.stop) == (404, Part.ALL, SIZE_BYTES)


# Responses as upstreams give them

MODIFIED = NOW - 1000
HEAD = ResponseHead(
    200,
    Fields(
        (
            ("date", format_date(NOW - 100)),
            ("content-type", "text/html"),
            ("content-length", str(SIZE_BYTES)),
            ("content-digest", "sha-256=:AAAA:"),
            ("content-md5", "AAAA"),
            ("repr-digest", "sha-256=:AAAA:"),
            ("etag", '"x"'),
            ("last-modified", format_date(MODIFIED)),
            ("cache-control", "max-age=60"),
            ("cdn-cache-control", "max-age=600"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        )
    ),
)


def without(head: ResponseHead, *names: str) -> ResponseHead:
    return ResponseHead(head.status, Fields(tuple(line for line in head.fields if line[0] not in names)))


def pulled(head: ResponseHead = HEAD, /, **fields: str) -> Selected:
    return select_from(asking("GET", fields), head, SIZE_BYTES, NOW)


def test_a_whole_response_keeps_its_fields_but_its_length() -> None:
    assert pulled() == Selected(200, Part.ALL, 0, SIZE_BYTES, without(HEAD, "content-length").fields.lines)


def test_parts_have_no_digest_of_the_whole_content() -> None:
    """Repr-Digest is about the representation and stays; the others are about the content that is sent (RFC 9530)."""
    for field in ("bytes=0-1", "bytes=0-1,1000-1001"):
        names = {name for name, _ in pulled(range=field).fields}
        assert not names & {"content-digest", "content-md5", "content-length"}
        assert {"repr-digest", "etag", "date", "last-modified", "content-type"} <= names


def test_not_modified_and_refusals_describe_no_content() -> None:
    not_modified = pulled(if_none_match='W/"x"')
    assert (not_modified.status, not_modified.part) == (304, Part.NOTHING)
    names = [name for name, _ in not_modified.fields]
    assert not set(names) & {"content-digest", "content-md5", "content-length", "content-type"}
    assert {"date", "etag", "cache-control", "last-modified"} <= set(names)
    assert names.count("set-cookie") == 2
    for refused in (pulled(if_match='"y"'), pulled(range="bytes=5000-"), pulled(if_unmodified_since=format_date(0))):
        fields = dict(refused.fields)
        assert refused.status in {412, 416}
        assert fields["cache-control"] == "no-store"
        assert not fields.keys() & {"cdn-cache-control", "content-digest", "content-type", "content-length"}


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"if_none_match": '"x"'}, 304),
        ({"if_none_match": '"y"', "if_modified_since": format_date(NOW)}, 200),
        ({"if_modified_since": format_date(MODIFIED)}, 304),
        ({"if_modified_since": format_date(MODIFIED - 1)}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": '"x"', "if_none_match": '"x"'}, 304),
        ({"if_match": 'W/"x"'}, 412),
        ({"if_unmodified_since": format_date(MODIFIED)}, 200),
        ({"range": "bytes=0-1", "if_range": '"x"'}, 206),
        ({"range": "bytes=0-1", "if_range": 'W/"x"'}, 200),
        ({"range": "bytes=0-1", "if_range": '"y"'}, 200),
        ({"range": "bytes=0-1", "if_range": format_date(MODIFIED)}, 206),
        ({"range": "bytes=0-1", "if_range": format_date(MODIFIED + 1)}, 200),
        ({"range": "bytes=9999-", "if_range": '"y"'}, 200),
        ({"range": "bytes=0-1", "if_none_match": '"x"'}, 304),
    ],
)
def test_preconditions(asked: dict[str, str], status: int) -> None:
    assert pulled(**asked).status == status


def test_without_last_modified_the_date_counts_for_if_modified_since_alone() -> None:
    dated = without(HEAD, "last-modified", "etag")
    assert pulled(dated, if_modified_since=format_date(NOW - 100)).status == 304
    assert pulled(dated, if_modified_since=format_date(NOW - 101)).status == 200
    assert pulled(dated, if_unmodified_since=format_date(0)).status == 200
    assert pulled(dated, range="bytes=0-1", if_range=format_date(NOW - 100)).status == 200


def test_a_date_that_may_have_changed_within_its_second_cuts_nothing() -> None:
    """Last-Modified is strong only when it lay behind by more than a second as it was said (section 8.8.2.2)."""
    written = NOW - 100
    lines = (("date", format_date(NOW - 100)), ("last-modified", format_date(written)))
    fresh = ResponseHead(200, Fields(lines))
    assert pulled(fresh, range="bytes=0-1", if_range=format_date(written)).status == 200
    undated = ResponseHead(200, Fields(lines[1:]))
    assert pulled(undated, range="bytes=0-1", if_range=format_date(written)).status == 206


@pytest.mark.parametrize(("status", "condition"), [(203, 304), (404, 404), (301, 301), (500, 500)])
def test_other_statuses_are_never_cut(status: int, condition: int) -> None:
    head = ResponseHead(status, HEAD.fields)
    assert pulled(head, range="bytes=0-1").status == status
    assert pulled(head, range="bytes=0-1").part is Part.ALL
    assert pulled(head, if_none_match='"x"').status == condition


def test_of_unknown_size_only_preconditions_count() -> None:
    whole = Selected(200, Part.ALL, 0, 0, without(HEAD, "content-length").fields.lines)
    assert select_from(asking("GET", {"range": "bytes=0-1"}), HEAD, None, NOW) == whole
    assert select_from(asking("GET", {"if_none_match": '"x"'}), HEAD, None, NOW).status == 304


def test_other_methods_than_get() -> None:
    assert select_from(asking("HEAD", {"range": "bytes=0-1"}), HEAD, SIZE_BYTES, NOW).status == 200
    assert select_from(asking("POST", {"if_none_match": '"x"'}), HEAD, SIZE_BYTES, NOW).status == 412


def test_the_coded_form_is_judged_by_its_own_validator() -> None:
    coded = coded_head(HEAD, "br")
    assert pulled(coded, if_none_match='"x-br"').status == 304
    assert "content-encoding" not in dict(pulled(coded, if_none_match='"x-br"').fields)
    assert pulled(coded, if_none_match='"x"').status == 200
    assert pulled(coded, range="bytes=0-1", if_range='"x"').status == 200
    part = select_from(asking("GET", {"range": "bytes=0-1", "if_range": '"x-br"'}), coded, 700, NOW)
    assert (part.status, dict(part.fields)["content-range"]) == (206, "bytes 0-1/700")
    assert dict(part.fields)["content-encoding"] == "br"
    assert "content-encoding" not in dict(pulled(coded, range="bytes=5000-").fields)


def test_several_ranges_of_a_coded_form_are_not_cut() -> None:
    """The coding would be read as that of the multipart content."""
    assert pulled(coded_head(HEAD, "br"), range="bytes=0-1,1000-1001").part is Part.ALL
