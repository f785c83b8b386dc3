"""The client against servers that answer in chosen ways."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from cdn.errors import InvalidInput, NotFound, Unavailable
from cdn.publish import client as client_module
from cdn.publish.backoff import Backoff
from cdn.publish.client import ControlClient
from cdn.publish.endpoint import Endpoint

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
QUICK = Backoff(attempts=3, first_s=0.001)


async def test_a_call_carries_the_token_and_names_are_encoded(serve: Serve) -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.raw_path, request.headers.get("Authorization")))
        return web.json_response({"deploys": []})

    async with ControlClient.open(Endpoint(await serve(handler), "cdn_a_b"), QUICK) as client:
        assert await client.deploys("../a b?c#d") == {"deploys": []}
    assert seen == [("GET", "/v1/sites/..%2Fa%20b%3Fc%23d/deploys", "Bearer cdn_a_b")]


async def test_wait_and_query_are_sent_and_absent_ones_are_not(serve: Serve) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path_qs)
        return web.json_response({})

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        await client.receipt(7, wait_s=2.5)
        await client.explain("http://a.b/c?d&e", node=None)
        await client.purge("blog", {}, wait_s=0)
    assert seen == [
        "/v1/receipts/7?wait=2.5",
        "/v1/explain?url=http%3A%2F%2Fa.b%2Fc%3Fd%26e",
        "/v1/sites/blog/purges?wait=0",
    ]


async def test_a_reading_call_is_tried_again_after_5xx(serve: Serve) -> None:
    answers = [web.Response(status=503), web.Response(status=500), web.json_response({"sites": []})]

    async def handler(request: web.Request) -> web.Response:
        return answers.pop(0)

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        assert await client.sites() == {"sites": []}


async def test_tries_end(serve: Serve) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.json_response({"detail": "The journal is locked."}, status=503)

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        with pytest.raises(Unavailable, match="The journal is locked"):
            await client.sites()
    assert calls == QUICK.attempts


async def test_a_changing_call_that_may_have_arrived_is_not_sent_twice(serve: Serve) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.roll_back("blog", to=None, alias=None, wait_s=1)
    assert calls == 1


async def test_a_control_that_is_not_there_is_a_sentence(unused_tcp_port: int) -> None:
    async with ControlClient.open(Endpoint(f"http://127.0.0.1:{unused_tcp_port}", None), QUICK) as client:
        with pytest.raises(Unavailable, match=r"control at http://127.0.0.1:\d+ cannot be reached: Connection refused"):
            await client.status()


async def test_a_refusal_is_its_error_and_is_final(serve: Serve) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.json_response({"detail": "There is no site 'blog'."}, status=404)

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        with pytest.raises(NotFound, match="There is no site 'blog'"):
            await client.site("blog")
    assert calls == 1


async def test_a_redirect_is_not_followed_with_the_token(serve: Serve) -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({})

    other = await serve(elsewhere)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": other})

    async with ControlClient.open(Endpoint(await serve(handler), "cdn_a_b"), QUICK) as client:
        with pytest.raises(InvalidInput, match="redirects elsewhere"):
            await client.sites()
    assert seen == []


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[]", b'"x"', b"\xff", b"{"])
async def test_an_answer_that_is_not_controls_is_a_sentence(serve: Serve, content: bytes) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=content)

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        with pytest.raises(InvalidInput, match="does CDN_CONTROL_URL name a control plane"):
            await client.sites()


async def test_an_answer_of_another_shape_is_a_sentence(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"id": 5})

    async with ControlClient.open(Endpoint(await serve(handler), None), QUICK) as client:
        with pytest.raises(InvalidInput, match="do not fit together"):
            await client.open_upload("blog", {})


async def test_an_endless_answer_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b" " * 2000)

    async with ControlClient.open(Endpoint(await serve(handler), None), Backoff(attempts=1)) as client:
        with pytest.raises(Unavailable, match="more than 1000 bytes"):
            await client.sites()


async def test_a_file_is_sent_whole_with_its_length_also_at_the_second_attempt(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int | None, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.content_length, await request.read()))
        return web.json_response({})

    table = tmp_path / "table"
    table.write_bytes(b"x" * 300_000)
    url = await serve(handler)
    async with ControlClient.open(Endpoint(url, None), QUICK) as client:
        refuse = [True]
        once = client._call_once

        async def second_time(*arguments: Any) -> Any:
            if refuse:
                refuse.clear()
                arguments = (arguments[0], URL("http://127.0.0.1:1/"), *arguments[2:])
            return await once(*arguments)

        monkeypatch.setattr(client, "_call_once", second_time)
        await client.set_geography(table, digest="d", note="n")
    assert seen == [(300_000, b"x" * 300_000)]
