"""Tokens of nodes: each for one node, handed out by the admin, ended by revoking."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from cdn.control.token import NodeScope, parse_scope
from cdn.errors import InvalidInput
from cdn.fleet.node import NodeFacts
from cdn.journal.wire import FOLLOW_PATH, Heartbeat, Hello, Refused, Welcome, decode_from_control, encode_message
from tests.control.control_room import Control, ControlMaker

PATIENCE_S = 20.0


def test_a_scope_names_one_node() -> None:
    scope = parse_scope("node:edge-1.eu")
    assert scope == NodeScope("edge-1.eu")
    assert str(scope) == "node:edge-1.eu"


@pytest.mark.parametrize("text", ["node:", "node:Edge", "node:-a", "node:a:b", "nodes:a", "node:" + "a" * 64])
def test_what_names_no_node_is_no_scope(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a scope"):
        parse_scope(text)


async def test_only_the_admin_hands_them_out(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    of_site = await control.api.token_for("admin:blog")
    assert (await of_site.post("/v1/tokens", {"scopes": ["node:blog"]})).status == 403
    assert (await control.api.post("/v1/tokens", {"scopes": ["node:blog"]})).status == 201
    listed = await of_site.get("/v1/tokens")
    assert ["node:blog"] not in [each["scopes"] for each in listed.document["tokens"]]


async def test_a_site_that_goes_does_not_take_a_node_of_its_name_along(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    node = await control.api.token_for("node:blog")
    assert (await control.api.delete("/v1/sites/blog")).status == 200
    assert control.plane.services.authenticator.is_node(node.token or "", "blog")


async def test_a_nodes_token_is_for_nothing_else(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    node = await control.api.token_for("node:edge-1")
    assert (await node.get("/v1/sites/blog")).status == 403
    assert (await node.post("/v1/sites/blog/purges", {"everything": True})).status == 403
    assert (await node.post("/v1/tokens", {"scopes": ["node:edge-1"]})).status == 403


async def say(socket: aiohttp.ClientWebSocketResponse, message: Hello | Heartbeat) -> None:
    await socket.send_str(encode_message(message))


async def hear(socket: aiohttp.ClientWebSocketResponse, kind: type[Welcome | Refused]) -> Welcome | Refused:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            frame = await socket.receive()
            if frame.type is aiohttp.WSMsgType.TEXT:
                message = decode_from_control(frame.data)
                if isinstance(message, kind):
                    return message
            else:
                assert frame.type is aiohttp.WSMsgType.BINARY, frame


async def follow(control: Control, token: str, node_id: str) -> aiohttp.ClientWebSocketResponse:
    socket: aiohttp.ClientWebSocketResponse = await control.api.client.ws_connect(
        FOLLOW_PATH, headers={"Authorization": f"Bearer {token}"}
    )
    await say(socket, Hello(node_id, (1,), None, NodeFacts("test")))
    return socket


@pytest.mark.parametrize("scope", ["node:edge-1", "node", "admin"])
async def test_revoking_ends_the_connection_and_lets_nobody_in_again(make_control: ControlMaker, scope: str) -> None:
    control = await make_control()
    made = await control.api.post("/v1/tokens", {"scopes": [scope]})
    socket = await follow(control, made.document["token"], "edge-1")
    await hear(socket, Welcome)
    assert (await control.api.delete(f"/v1/tokens/{made.document['id']}")).status == 200
    await say(socket, Heartbeat(1, {}))
    refused = await hear(socket, Refused)
    assert isinstance(refused, Refused)
    assert "does not let a node follow" in refused.reason
    with pytest.raises(aiohttp.WSServerHandshakeError) as answer:
        await follow(control, made.document["token"], "edge-1")
    assert answer.value.status == 401


async def test_the_token_of_another_node_is_counted_for_the_admin(make_control: ControlMaker, tmp_path: Path) -> None:
    control = await make_control()
    node = await control.api.token_for("node:edge-1")
    socket = await follow(control, node.token or "", "edge-2")
    refused = await hear(socket, Refused)
    assert isinstance(refused, Refused)
    assert refused.reason == "this token is not for node edge-2: create one with scope node:edge-2"
    status = await control.api.get("/v1/status")
    assert status.document["refusals"]["foreign-token"] == 1
    assert status.document["nodes"] == []
