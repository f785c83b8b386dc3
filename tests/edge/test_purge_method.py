"""PURGE on a node: what is passed on to control, and what never is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cdn.edge import purge_method
from cdn.edge.purge_method import MAX_ANSWER_BYTES, MAX_CONCURRENT, MAX_REFUSED, PurgeMethod
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.http.fields import FieldLines, Fields
from cdn.http.request import Request
from cdn.http.target import Target, parse_target
from tests.servers.ports import free_ports

TOKEN = "cdn_0123456789abcdef_" + "0" * 64


@dataclass
class Control:
    """What is asked of it, and what it says."""

    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    status: int = 200
    content: bytes = b'{"status":"ok","id":"7"}'
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, {name.lower(): value for name, value in request.headers.items()}))
        fields = {"CDN-Receipt": "/v1/receipts/7", "Content-Type": "application/json", "Set-Cookie": "a=b"}
        return web.Response(status=self.status, body=self.content, headers=fields)


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    made = Control()
    application = web.Application()
    application.router.add_post("/{path:.*}", made.answer)
    async with TestServer(application) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _purge(*urls: str, clock: Clock | None = None) -> PurgeMethod:
    return PurgeMethod("edge-1", urls, monotonic=clock or Clock())


def _request(target: str = "/a%20b?c=d", **fields: str) -> Request:
    parsed = parse_target(target.encode())
    assert isinstance(parsed, Target)
    lines: FieldLines = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Request("PURGE", parsed, "www.example.com", 8080, Fields(lines), "http")


async def _answer(method: PurgeMethod, request: Request, address: str = "192.0.2.1") -> tuple[int, Response]:
    response = await method.answer(request, Visitor(address, lambda status, fields: None))
    return response.status, response


async def test_the_url_and_the_token_go_to_control_and_nothing_else_of_the_request(control: Control) -> None:
    request = _request(fastly_key=TOKEN, fastly_soft_purge="1", cookie="secret=1", x_forwarded_for="192.0.2.9")
    status, response = await _answer(_purge(control.url), request)
    ((path, fields),) = control.asked
    assert (status, response.content) == (200, control.content)
    assert path == "/purge/www.example.com/a%20b?c=d"
    assert (fields["fastly-key"], fields["fastly-soft-purge"]) == (TOKEN, "1")
    assert not {"cookie", "x-forwarded-for"} & fields.keys()
    told = dict(response.fields)
    assert (told["cdn-receipt"], told["cache-control"]) == ("/v1/receipts/7", "no-store")
    assert "set-cookie" not in told


@pytest.mark.parametrize("target", ["/a", "/a?", "/a??", "/a?b=c+d%2Be", "//a", "/a;b:c@d"])
async def test_what_is_stored_apart_is_purged_apart(control: Control, target: str) -> None:
    """`/a?` is stored beside `/a`."""
    assert (await _answer(_purge(control.url), _request(target, fastly_key=TOKEN)))[0] == 200
    assert [path for path, _ in control.asked] == [f"/purge/www.example.com{target}"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fastly_key": ""},
        {"fastly_key": "secret"},
        {"fastly_key": TOKEN + "\xff"},
        {"authorization": "Basic " + TOKEN},
        {"authorization": TOKEN},
        {"fastly_key": "cdn_" + "0" * 65 + "_0"},
    ],
)
async def test_without_a_token_control_is_not_asked(control: Control, fields: dict[str, str]) -> None:
    status, response = await _answer(_purge(control.url), _request(**fields))
    assert (status, control.asked) == (401, [])
    assert isinstance(response.content, bytes)
    said = json.loads(response.content)
    assert said["msg"] == "Provided credentials are missing or invalid", "in Fastly's words, as control has it"
    assert said["detail"] == "This needs a token with the scope purge, in the field Fastly-Key."
    assert dict(response.fields)["www-authenticate"].startswith("Bearer")


async def test_a_bearer_token_is_one_too(control: Control) -> None:
    assert (await _answer(_purge(control.url), _request(authorization=f"Bearer {TOKEN}")))[0] == 200


async def test_who_guesses_tokens_is_not_passed_on_for_a_while(control: Control) -> None:
    clock = Clock()
    method = _purge(control.url, clock=clock)
    control.status = 401
    for _ in range(MAX_REFUSED):
        assert (await _answer(method, _request(fastly_key=TOKEN)))[0] == 401
    status, response = await _answer(method, _request(fastly_key=TOKEN))
    assert (status, dict(response.fields)["retry-after"]) == (429, "60")
    assert len(control.asked) == MAX_REFUSED
    control.status = 200
    assert (await _answer(method, _request(fastly_key=TOKEN), "192.0.2.2"))[0] == 200, "another address"
    clock.now += purge_method.REFUSED_S
    assert (await _answer(method, _request(fastly_key=TOKEN)))[0] == 200


async def test_the_next_replica_is_asked_where_one_is_away(control: Control) -> None:
    (port,) = free_ports(1)
    away = f"http://127.0.0.1:{port}"
    assert (await _answer(_purge(away, control.url), _request(fastly_key=TOKEN)))[0] == 200
    status, response = await _answer(_purge(away), _request(fastly_key=TOKEN))
    assert (status, dict(response.fields)["retry-after"]) == (503, "5")


async def test_purges_under_way_are_bounded_and_so_is_the_answer(control: Control, monkeypatch: Any) -> None:
    control.content = b"x" * (2 * MAX_ANSWER_BYTES)
    method = _purge(control.url)
    _, response = await _answer(method, _request(fastly_key=TOKEN))
    assert response.content == b"x" * MAX_ANSWER_BYTES
    monkeypatch.setattr(method, "_under_way", MAX_CONCURRENT)
    assert (await _answer(method, _request(fastly_key=TOKEN)))[0] == 503
