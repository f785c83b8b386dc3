"""Bad input and broken parts: problem+json, the field's name, never a traceback."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from cdn.control.problem import problem_response
from cdn.errors import Unavailable
from cdn.origin.store import StoreUnavailable
from tests.control.control_room import Api, Control, ControlMaker, deploy, deploy_request, upload


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "field"),
    [
        ("POST", "/v1/sites", {"name": 1}, 400, "name"),
        ("POST", "/v1/sites", {}, 400, "name"),
        ("POST", "/v1/sites", {"name": "x", "colour": "red"}, 400, "colour"),
        ("POST", "/v1/sites", {"name": "Not A Name"}, 400, "name"),
        ("POST", "/v1/sites", {"name": "a--b"}, 400, "name"),
        ("POST", "/v1/sites", {"name": "x", "settings": {"nosuch": 1}}, 400, "nosuch"),
        ("POST", "/v1/sites", {"name": "x", "settings": {"retention_s": "long"}}, 400, "retention_s"),
        ("POST", "/v1/sites", {"name": "x", "settings": []}, 400, "settings"),
        ("POST", "/v1/sites", [], 400, None),
        ("POST", "/v1/sites/blog/purges?wait=soon", {"everything": True}, 400, "wait"),
        ("POST", "/v1/sites/blog/purges?wait=-1", {"everything": True}, 400, "wait"),
        ("POST", "/v1/sites/blog/purges?wait=nan", {"everything": True}, 400, "wait"),
        ("POST", "/v1/sites/blog/purges?wait=1e9", {"everything": True}, 400, "wait"),
        ("POST", "/v1/sites/blog/purges?wait=1&wait=2", {"everything": True}, 400, "wait"),
        ("POST", "/v1/sites/blog/purges?quick=1", {"everything": True}, 400, "quick"),
        ("POST", "/v1/sites/blog/purges", {"urls": [1]}, 400, "urls[0]"),
        ("GET", "/v1/explain", None, 400, "url"),
        ("GET", "/v1/receipts/first", None, 400, "sequence"),
        ("GET", "/v1/receipts/99999", None, 404, None),
        ("GET", "/v1/receipts/0", None, 404, None),
        ("GET", "/v1/nothing", None, 404, None),
        ("GET", "/v1/sites/nosuch", None, 404, None),
        ("GET", "/v1/sites/blog/deploys/nosuch", None, 404, None),
        ("POST", "/v1/sites/blog/deploys/nosuch/activate", {}, 404, None),
        ("POST", "/v1/sites/blog/rollback", {}, 404, None),
        ("DELETE", "/v1/sites/blog/domains/www.example.com", None, 404, None),
        ("PUT", "/v1/sites/blog", {}, 405, None),
    ],
)
async def test_bad_requests_are_problems_that_name_the_field(
    api: Api, method: str, path: str, content: Any, status: int, field: str | None
) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    answer = await api.call(method, path, content)
    assert (answer.status, answer.document.get("field")) == (status, field), answer
    assert answer.is_problem
    assert answer.document["status"] == status
    assert answer.document["detail"]
    assert "Traceback" not in str(answer.document)


@pytest.mark.parametrize("raw", [b"{", b'{"name":"\xff"}', b"\x00", b"nonsense", b"[" * 100_000, b'{"name":"a"}x'])
async def test_content_that_is_not_json_is_a_problem(api: Api, raw: bytes) -> None:
    answer = await api.post("/v1/sites", data=raw)
    assert answer.status == 400
    assert answer.is_problem


async def test_a_wrong_method_is_told_the_right_ones(api: Api) -> None:
    answer = await api.call("PUT", "/v1/sites", {})
    assert answer.status == 405
    assert set(answer.fields["Allow"].split(",")) == {"GET", "HEAD", "POST"} or set(
        answer.fields["Allow"].split(",")
    ) == {"GET", "POST"}


async def test_oversize_content_is_413_announced_or_not(make_control: ControlMaker) -> None:
    api = (await make_control(max_request_bytes=1000)).api

    async def dribble() -> Any:
        for _ in range(20):
            yield b" " * 100

    for data in (b" " * 1001, dribble()):
        answer = await api.post("/v1/sites", data=data)
        assert answer.status == 413
        assert answer.is_problem
    assert (await api.post("/v1/sites", {"name": "blog"})).status == 201


async def test_content_that_stops_coming_is_given_up(make_control: ControlMaker) -> None:
    api = (await make_control(stall_timeout_s=0.05)).api
    await api.post("/v1/sites", {"name": "blog"})
    never = asyncio.Event()

    async def stall() -> Any:
        yield b'{"manifest"'
        await never.wait()

    answer = await api.post("/v1/sites/blog/deploys", data=stall())
    assert answer.status == 400
    assert "0.05 s" in answer.document["detail"]


async def test_a_fault_of_the_program_is_a_500_with_the_id_it_is_logged_under(
    control: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the inner secret")

    monkeypatch.setattr(type(control.plane.services.catalog), "sites", broken)
    answer = await control.api.get("/v1/sites")
    assert answer.status == 500
    assert answer.is_problem
    assert "inner secret" not in str(answer.document)
    instance = answer.document["instance"].rsplit(":", 1)[1]
    assert any(instance in record.getMessage() and record.exc_info for record in caplog.records)


class MoodyStore:
    """A store that is down when told."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        if self.is_down and name not in ("aclose", "takes_direct_uploads"):
            raise StoreUnavailable("The store does not answer.", retry_after_s=7)
        return getattr(self._store, name)


async def test_a_store_that_is_down_is_503_until_it_is_back(control: Control) -> None:
    api = control.api
    await api.post("/v1/sites", {"name": "blog"})
    files = {"/index.html": b"hello"}
    upload_id, _ = await upload(api, "blog", files)
    moody = MoodyStore(control.store)
    control.store = moody
    await control.reopen()
    api = control.api
    moody.is_down = True
    for path, content in [
        ("/v1/sites/blog/uploads", {"blobs": {"a" * 64: 1}}),
        ("/v1/sites/blog/deploys", deploy_request(upload_id, files)),
    ]:
        answer = await api.post(path, content)
        assert answer.status == 503
        assert answer.fields["Retry-After"] == "7"
        assert answer.is_problem
    assert (await api.get("/v1/sites/blog/deploys")).document == {"deploys": []}
    assert (await api.post("/v1/sites/blog/purges", {"everything": True})).status in (200, 202)
    moody.is_down = False
    assert (await deploy(api, "blog", files)).status == 201


async def test_a_locked_journal_is_503_until_it_is_free(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    other = sqlite3.connect(control.root / "journal.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        answer = await control.api.post("/v1/sites/blog/purges", {"everything": True})
        assert answer.status == 503
        assert int(answer.fields["Retry-After"]) >= 1
        assert answer.is_problem
        assert (await control.api.get("/v1/sites/blog")).status == 200
        other.execute("ROLLBACK")
    finally:
        other.close()
    before = control.plane.state.position.sequence
    assert (await control.api.post("/v1/sites/blog/purges", {"everything": True})).status == 200
    assert control.plane.state.position.sequence == before + 1


async def test_unavailable_says_when_to_come_back() -> None:
    assert problem_response(Unavailable("later", retry_after_s=3)).headers["Retry-After"] == "3"
