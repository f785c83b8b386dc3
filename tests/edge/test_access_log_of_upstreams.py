"""What the access log says of answers from upstreams that are caches themselves: what this node did, not what they."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.edge.listener import Listener
from cdn.edge.response import Response
from tests.edge.engine_application import TEXT, EchoApplication
from tests.edge.test_access_log_of_listener import logged
from tests.edge.test_h2_listener import run


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
async def test_the_last_line_of_cache_status_is_this_nodes(protocol: str, tmp_path: Path) -> None:
    theirs, ours = "origin; hit", "edge; fwd=uri-miss; fwd-status=200; stored"

    async def scene(listener: Listener, application: EchoApplication) -> None:
        fields = (*TEXT, ("cache-status", theirs), ("cache-status", ours))
        application.responses["/missed"] = Response(200, fields, b"fetched")
        await run("curl", "-s", "-o", str(tmp_path / "got"), protocol, f"http://127.0.0.1:{listener.port}/missed")

    lines, _ = await logged(tmp_path, scene)
    assert [(each["outcome"], each["cache_status"]) for each in lines] == [("miss", f"{theirs}, {ours}")]
