"""Of a pull site, what memory makes of preconditions and ranges is what the whole road makes of them."""

from __future__ import annotations

import pytest

from cdn.edge.prepared import JOINED_BYTES, Prepared, Validators
from cdn.edge.prepared_forms import form_for
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from tests.edge.conftest import MakeStage
from tests.edge.engine_application import prepared_of
from tests.edge.engine_responses import read_responses
from tests.edge.pull_stage import FRESH, Answer, Stage
from tests.edge.test_head_memo import SITE

ETAG, OTHER = '"1"', '"2"'
MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE, AFTER = "Mon, 13 Nov 2023 22:13:20 GMT", "Wed, 15 Nov 2023 22:13:20 GMT"
CONTENT = b"0123456789"

HEADS: tuple[tuple[tuple[str, str], ...], ...] = (
    (FRESH, ("etag", ETAG), ("last-modified", MODIFIED), ("content-type", "text/plain"), ("accept-ranges", "none")),
    (FRESH, ("etag", f"W/{ETAG}"), ("content-language", "en"), ("expires", AFTER), ("x-a", "b")),
    (FRESH, ("last-modified", MODIFIED), ("content-digest", "sha-256=:x:"), ("vary", "accept-language")),
    (FRESH,),
)
RULES: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("x-rule", "1"),),
    (("cache-control", "max-age=1"), ("content-type", "text/x-ruled")),
)
ASKED: tuple[dict[str, str], ...] = (
    {},
    {"if_none_match": ETAG},
    {"if_none_match": f"{OTHER}, W/{ETAG}"},
    {"if_none_match": "*"},
    {"if_none_match": OTHER, "if_modified_since": AFTER},
    {"if_modified_since": MODIFIED},
    {"if_modified_since": BEFORE},
    {"if_modified_since": AFTER},
    {"if_modified_since": "Tuesday, 14-Nov-23 22:13:20 GMT"},
    {"if_modified_since": "long ago"},
    {"if_match": ETAG},
    {"if_match": OTHER},
    {"if_unmodified_since": BEFORE},
    {"range": "bytes=2-4"},
    {"range": "bytes=-3", "if_none_match": ETAG},
    {"range": "bytes=99-"},
    {"range": "bytes=0-0,9-9"},
    {"range": "lines=1"},
    {"range": "bytes=2-4", "if_range": ETAG},
    {"range": "bytes=2-4", "if_range": OTHER},
    {"range": "bytes=2-4", "if_range": MODIFIED},
    {"range": "bytes=2-4", "if_range": "never"},
)


def said_by(prepared: Prepared, method: str, now: float) -> tuple[int, list[tuple[str, str]], bytes]:
    wire = prepared.wire(now) if method == "GET" else prepared.wire_head(now)
    (response,) = read_responses(wire, [method])
    lines = sorted(line for line in response.fields.items() if line[0] != "content-length")
    return response.status, lines, response.content


def said(answer: Answer, method: str) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, sorted(answer.fields), answer.content if method == "GET" else b""


async def compare(stage: Stage, method: str, asked: dict[str, str]) -> int:
    """The status that memory answers with; 0: it leaves it to the whole road."""
    prepared = stage.road.recall(stage.request("/a", method, **asked), stage.site(), stage.now)
    if prepared is None:
        return 0
    assert said_by(prepared, method, stage.now) == said(await stage.get("/a", method, **asked), method)
    return prepared.status


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("head", HEADS)
async def test_memory_and_the_whole_road_agree(
    make_stage: MakeStage, head: tuple[tuple[str, str], ...], rules: tuple[tuple[str, str], ...]
) -> None:
    fields = [list(line) for line in rules]
    given = [{"path": "/*", "fields": fields}] if fields else []
    stage = await make_stage(site={"header_rules": given, "compresses": False})
    await stage.fetch("/a", *head, stage.dated(), content=CONTENT)
    await stage.get("/a")
    stage.now += 3
    met = {await compare(stage, method, asked) for method in ("GET", "HEAD") for asked in ASKED}
    assert 200 in met
    is_ruled = {name for name, _ in rules} & {"cache-control"}
    assert met >= ({206, 304, 416} if not is_ruled else {0})


def test_a_form_lives_as_long_as_what_it_was_made_of() -> None:
    whole = prepared_of(b"x" * (JOINED_BYTES + 10), site=SITE, fresh_until=100.0, validators=Validators.ALL)
    fields = Fields((("range", "bytes=5-"),))
    form = form_for(whole, Request("GET", Target("/", None, "/"), "a.example", None, fields, "http"))
    assert form is not None
    assert form.is_usable(99.0)
    assert not form.is_usable(100.0)
    assert form.content == b"x" * (JOINED_BYTES + 5)
    whole.retire()
    assert not form.is_usable(99.0)
