"""The harness itself: what holds passes, and what does not hold is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.expectation import parameters
from tests.scenarios.language import ScenarioSyntax, pattern, read_scenario
from tests.scenarios.play import ScenarioFailed, no_edge, play

FILES = sorted((Path(__file__).parent / "files").glob("*.scenario"))

HOLDS = {
    "fields and content": """
upstream GET /a
  expect host: direct.test
  expect no cookie
  reply 200
    ETag: "a"
    Age: 100
  content hello
client
  GET /a
  expect status 200
  expect etag: "a"
  expect age >= 100
  expect date ~ GMT$
  expect no vary
  expect content hello
  expect size 5
  expect head ~ ^HTTP/1.1 200
""",
    "chunked with trailers": """
upstream
  reply 200 chunked
    Trailer: Digest
  content abc
  content "d\\ne"
  trailers
    Digest: x
client
  GET /a
  expect content "abcd\\ne"
  expect trailer digest: x
  expect no content-length
  expect trailer digest ~ ^x
""",
    "interim responses": """
upstream
  interim 103
    Link: </a.css>
  interim 102
  reply 204
client
  GET /
  expect interim 103
    link: </a.css>
  expect interim 102
  expect status 204
""",
    "until close": """
upstream
  reply 200 until-close
  content abc
client
  GET /
  expect content abc
  expect closed
""",
    "cut at every offset": """
for n in 0..20
  upstream GET /{n}
    cut {n}
    reply 200
      Content-Length: 10
    content 0123456789
client
  for n in 0..20
    GET /{n}
    expect broken
    expect failed
""",
    "signals in the middle of content": """
upstream
  reply 200
  content bytes 0-9
  await seen
  content bytes 10-19
client
  GET /
  receive 10
  signal seen
  expect content bytes 0-19
""",
    "several clients": """
upstream times 3
  signal asked
  await go
  reply 200
client one
  GET /a
  expect status 200
client two
  GET /b
  expect status 200
client three
  await asked 2
  signal go
  GET /c
  expect status 200
""",
    "requests with content": """
upstream POST /a
  expect content hello
  expect content-length: 5
  reply 200
upstream POST /b
  expect content abc
  reply 200
client
  POST /a
    X: y
    content hello
  POST /b
    Transfer-Encoding: chunked
    content "3\\r\\nabc\\r\\n0\\r\\n\\r\\n"
""",
    "connections": """
upstream
  expect connection 1
  reply 200
upstream
  expect connection 1
  reply 200
  close
upstream
  expect connection 2
  reply 200
client
  GET /
  expect status 200
  GET /
  expect closed
  GET /
  expect status 200
""",
    "kept values": """
upstream
  reply 200
    ETag: "abc"
upstream
  expect if-match: "abc"
  reply 200
client
  GET /
  keep tag from etag
  GET /
    If-Match: <tag>
  expect status 200
""",
    "raw octets": """
upstream
  raw "HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nab"
  reset
client
  raw "GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
  expect status 200
  expect broken
""",
    "an upstream that is down": """
upstream
  reply 200
upstream
  reply 200
client
  GET /
  expect status 200
  down
  up
  GET /
  expect status 200
""",
    "eventually": """
upstream
  reply 404
upstream
  reply 404
upstream
  reply 200
client
  eventually GET /
  expect status 200
""",
    "head": """
upstream HEAD
  reply 200
  content hello
client
  HEAD /
  expect content-length: 5
  expect size 0
""",
}
FAILS = {
    "status": ("upstream\n  reply 404\nclient\n  GET /\n  expect status 200\n", 5, "'404'"),
    "field": ("upstream\n  reply 200\n    ETag: a\nclient\n  GET /\n  expect etag: b\n", 6, "'a'"),
    "absence": ("upstream\n  reply 200\n    ETag: a\nclient\n  GET /\n  expect no etag\n", 6, "'a'"),
    "number": ("upstream\n  reply 200\n    Age: 9\nclient\n  GET /\n  expect age >= 10\n", 6, "'9'"),
    "content": ("upstream\n  reply 200\n  content abc\nclient\n  GET /\n  expect content abd\n", 6, "'abc'"),
    "trailer": ("upstream\n  reply 200 chunked\nclient\n  GET /\n  expect trailer a: b\n", 5, "nothing"),
    "content that broke off": (
        "upstream\n  reply 200\n    Content-Length: 9\n  content abc\n  close\nclient\n  GET /\n  expect content abc\n",
        8,
        "broke off",
    ),
    "no failure": ("upstream\n  reply 200\nclient\n  GET /\n  expect failed\n", 5, "whole"),
    "no break": ("upstream\n  reply 200\nclient\n  GET /\n  expect broken\n", 5, "nothing"),
    "open connection": ("upstream\n  reply 200\nclient\n  GET /\n  expect closed\n", 5, "still waiting"),
    "interim": ("upstream\n  reply 200\nclient\n  GET /\n  expect interim 103\n", 5, "final response"),
    "cache-status": (
        "upstream\n  reply 200\n    Cache-Status: a; hit\nclient\n  GET /\n  expect cache-status fwd=stale\n",
        6,
        "nothing",
    ),
    "field of the request": ("upstream\n  expect a: b\n  reply 200\nclient\n  GET /\n    A: c\n", 2, "'c'"),
    "one request too many": ("upstream\n  reply 200\nclient\n  GET /a\n  GET /b\n", 0, "GET /b"),
    "one request too few": ("upstream times 2\n  reply 200\nclient\n  GET /a\n", 1, "1 requests"),
    "a signal that never comes": ("client\n  await it\n", 2, "still waiting"),
    "content that never comes": (
        "upstream\n  reply 200\n  content ab\nclient\n  GET /\n  receive 3\n",
        6,
        "2, and the end",
    ),
    "eventually never": ("upstream always\n  reply 404\nclient\n  eventually GET /\n  expect status 200\n", 5, "'404'"),
}

WRONG = {
    "block": ("server\n", 1),
    "command": ("client\n  dance\n", 2),
    "upstream command in a client": ("client\n  reply 200\n", 2),
    "client command in an upstream": ("upstream\n  GET /\nclient\n", 2),
    "indentation": ("client\n   GET /\n", 2),
    "field": ("client\n  GET /\n    a b\n", 3),
    "request": ("client\n  GET\n", 2),
    "number": ("client\n  receive much\n", 2),
    "framing": ("upstream\n  reply 200 magic\nclient\n", 2),
    "pattern": ("client\n  GET /\n  expect content ~ (\n", 3),
    "expectation": ("client\n  GET /\n  expect wonders of it\n", 3),
    "setting": ("site\n  query sort\nclient\n", 2),
    "purge": ("client\n  purge some\n", 2),
    "nobody": ("upstream\n  reply 200\n", 1),
}


@pytest.mark.parametrize("name", HOLDS)
async def test_what_holds_passes(name: str) -> None:
    await play(read_scenario(HOLDS[name]), no_edge)


@pytest.mark.parametrize("name", FAILS)
async def test_what_does_not_hold_is_told_with_its_line(name: str) -> None:
    text, line, seen = FAILS[name]
    with pytest.raises(ScenarioFailed) as failed:
        await play(read_scenario(text), no_edge, patience_s=0.2)
    told = str(failed.value)
    assert told.startswith(f"line {line}: "), told
    assert "\n  expected: " in told
    assert seen in told.partition("\n  seen: ")[2], told


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_not_understood_is_refused(name: str) -> None:
    text, line = WRONG[name]
    with pytest.raises(ScenarioSyntax) as refused:
        read_scenario(text)
    assert str(refused.value).startswith(f"line {line}: ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_scenario_file_is_understood(file: Path) -> None:
    assert read_scenario(file.read_text()).clients


def test_the_example_of_the_readme_is_understood() -> None:
    example = (Path(__file__).parent / "README.md").read_text().split("```\n")[1]
    scenario = read_scenario(example)
    assert (len(scenario.upstreams), len(scenario.clients)) == (2, 1)


def test_the_pattern_tells_every_place() -> None:
    whole = pattern(0, 100)
    assert whole[:16] == b"0000000\n0000008\n"
    assert all(pattern(start, stop) == whole[start:stop] for start in range(20) for stop in range(start, 40))


def test_the_last_cache_is_the_one_that_is_asked() -> None:
    seen = parameters('far; hit; key="a,b;c", near; fwd=stale; ttl=-3; detail="x, y"')
    assert seen == {"fwd": "stale", "ttl": "-3", "detail": "x, y"}
    assert parameters(None) == {}
