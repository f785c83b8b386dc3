"""An upload that control forgot in the middle is opened again by itself, and nothing is sent twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cdn.errors import NotFound
from cdn.publish.backoff import Backoff
from cdn.publish.client import ControlClient
from cdn.publish.deploy import MAX_SESSIONS, Publication, publish
from cdn.publish.endpoint import Endpoint
from cdn.publish.progress import Silence
from tests.publish.conftest import Serve

QUICK = Backoff(attempts=2, first_s=0.001)


class ForgetfulControl:
    """Takes blobs, and forgets each upload after `forgets_after` of them."""

    def __init__(self, forgets_after: int) -> None:
        self.forgets_after = forgets_after
        self.opened = 0
        self.taken: list[str] = []
        self.left = 0
        self.deployed: list[dict[str, Any]] = []
        self.breaks_deploys = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/uploads"):
            wanted = (await request.json())["blobs"]
            self.opened += 1
            self.left = self.forgets_after
            missing = [digest for digest in wanted if digest not in self.taken]
            told = {"id": f"u{self.opened}", "missing": missing, "direct": False, "expires_at": 2e9}
            return web.json_response(told, status=201)
        if "/blobs/" in request.path:
            await request.read()
            if not self.left:
                return web.json_response({"detail": "There is no open upload."}, status=404)
            self.left -= 1
            self.taken.append(request.path.rsplit("/", 1)[1])
            return web.json_response({}, status=201)
        self.deployed.append(await request.json())
        if self.breaks_deploys:
            self.breaks_deploys -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"deploy": {}}, status=201)


async def published(serve: Serve, control: ForgetfulControl, root: Path, files: int) -> Any:
    url = await serve(control.handle)
    for number in range(files):
        (root / f"{number}.txt").write_text(f"content {number}")
    async with ControlClient.open(Endpoint(url, "token"), QUICK) as client:
        return await publish(client, Publication(root, "blog"), Silence(), QUICK)


async def test_it_goes_on_in_a_new_upload_without_what_has_arrived(serve: Serve, tmp_path: Path) -> None:
    control = ForgetfulControl(forgets_after=10)
    done = await published(serve, control, tmp_path, 25)
    assert (done.uploaded_count, control.opened) == (25, 3)
    assert len(control.taken) == len(set(control.taken)) == 25
    assert [each["upload"] for each in control.deployed] == ["u3"]


async def test_a_control_that_forgets_every_upload_is_given_up(serve: Serve, tmp_path: Path) -> None:
    control = ForgetfulControl(forgets_after=0)
    with pytest.raises(NotFound, match="no open upload"):
        await published(serve, control, tmp_path, 3)
    assert control.opened == MAX_SESSIONS
    assert not control.deployed


async def test_an_activation_whose_answer_was_lost_is_asked_for_again(serve: Serve, tmp_path: Path) -> None:
    control = ForgetfulControl(forgets_after=10)
    control.breaks_deploys = 1
    await published(serve, control, tmp_path, 3)
    assert [each["upload"] for each in control.deployed] == ["u1", "u1"]
