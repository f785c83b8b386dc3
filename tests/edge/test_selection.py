"""What of a representation is sent, and which fields go with it (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import pytest

from cdn.edge.selection import Part, Selected, select
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import Representation, representation_of
from cdn.sites.settings import settings_from

RULES = {"header_rules": [{"path": "/*", "fields": [["expires", "0"], ["access-control-allow-origin", "*"]]}]}
FILE: Representation = representation_of("/app.3f2a9c1b.js", FileEntry("ab" * 32, 6), settings_from(RULES), status=200)


def selected(method: str = "GET", **fields: str) -> Selected:
    lines = tuple((name.lower().replace("_", "-"), value) for name, value in fields.items())
    target = Target("/app.3f2a9c1b.js", None, "/app.3f2a9c1b.js")
    return select(Request(method, target, "blog.test", None, Fields(lines), "http"), FILE, 6, 1_700_000_000.0)


def test_whole_and_part() -> None:
    assert selected() == Selected(200, Part.ALL, 0, 6, FILE.fields)
    part = selected(range="bytes=2-3")
    assert (part.status, part.start, part.stop) == (206, 2, 4)
    assert dict(part.fields)["content-range"] == "bytes 2-3/6"
    assert selected("HEAD", range="bytes=2-3") == selected()


def test_not_modified_keeps_what_caches_need() -> None:
    fields = dict(selected(if_none_match="*").fields)
    assert "content-type" not in fields
    assert {"etag", "cache-control"} <= fields.keys()


@pytest.mark.parametrize(("asked", "status"), [({"range": "bytes=9-"}, 416), ({"if_match": '"other"'}, 412)])
def test_a_refusal_is_not_kept_for_as_long_as_the_file(asked: dict[str, str], status: int) -> None:
    refused = selected(**asked)
    assert (refused.status, refused.part) == (status, Part.NOTHING)
    fields = dict(refused.fields)
    assert fields["cache-control"] == "no-store"
    assert "expires" not in fields
    assert fields["access-control-allow-origin"] == "*"
