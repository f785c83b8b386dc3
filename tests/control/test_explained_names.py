"""`GET /v1/explain/name`: control asks the name servers that follow it, and says what each of them says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdn.journal.wire import FollowerRole
from tests.control.control_room import Control, ControlMaker
from tests.control.test_dns_followers import PATIENCE_S, following

WHERE = "/v1/explain/name?name=Blog.cdn.localhost.&from=203.0.113.0/24"


@asynccontextmanager
async def name_server(control: Control, path: Path, asked: list[tuple[str, str]]) -> AsyncIterator[None]:
    """One that says what it was asked."""

    async def explain(name: str, source: str) -> Mapping[str, Any]:
        asked.append((name, source))
        return {"zone": "cdn.localhost", "A": {"addresses": ["192.0.2.1"]}}

    token = (await control.api.token_for("dns:ns-1")).token or ""
    async with following(control, token, path, FollowerRole.DNS) as follower:
        follower.explain = explain
        async with asyncio.timeout(PATIENCE_S):
            await follower.wait_caught_up()
        yield


async def test_every_name_server_says_how_it_answers(make_control: ControlMaker, tmp_path: Path) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    assert (await control.api.get(WHERE)).document["servers"] == []
    asked: list[tuple[str, str]] = []
    async with name_server(control, tmp_path / "replica.db", asked):
        said = (await control.api.get(WHERE)).document
        assert asked == [("blog.cdn.localhost", "203.0.113.0/24")]
        assert (said["name"], said["source"], said["site"]) == ("blog.cdn.localhost", "203.0.113.0/24", "blog")
        (server,) = said["servers"]
        assert (server["node"], server["result"]["A"]["addresses"], server["failure"]) == ("ns-1", ["192.0.2.1"], None)
        assert (await control.api.get(f"{WHERE}&server=ns-1")).document["servers"] == [server]
        assert (await control.api.get(f"{WHERE}&server=ns-2")).status == 404
        mine = await control.api.token_for("read:blog")
        assert (await mine.get(WHERE)).status == 200
        other = await mine.get("/v1/explain/name?name=shop.cdn.localhost&from=203.0.113.1")
        assert (other.status, len(asked)) == (403, 3), "what is not a site of one's own is not asked for"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("name=blog.cdn.localhost&from=nowhere", "from"),
        ("name=blog.cdn.localhost&from=203.0.113.1/24", "from"),
        ("name=b%20c&from=203.0.113.1", "name"),
        ("name=blog.cdn.localhost", "from"),
    ],
)
async def test_what_cannot_be_asked_is_refused(make_control: ControlMaker, query: str, field: str) -> None:
    control = await make_control()
    answer = await control.api.get(f"/v1/explain/name?{query}")
    assert (answer.status, answer.document["field"]) == (400, field)
