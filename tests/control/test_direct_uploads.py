"""Uploads that go straight to a real S3 server, and the whole road behind them."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cdn.origin.s3 import S3Store
from tests.control.control_room import Api, Control, ControlMaker, deploy_request, entry_of
from tests.control.test_archive_intake import tar_of
from tests.servers.seaweed import S3Server

FILES = {"/index.html": b"<h1>hello</h1>", "/app.css": b"h1 { color: teal }", "/copy.css": b"h1 { color: teal }"}


@pytest.fixture
async def store(s3_server: S3Server) -> AsyncIterator[S3Store]:
    store = S3Store(s3_server.new_bucket(), "cdn", endpoint_url=s3_server.endpoint_url, session=s3_server.session)
    yield store
    await store.aclose()


@pytest.fixture
async def s3_control(store: S3Store, make_control: ControlMaker) -> Control:
    control = await make_control(store=store)
    await control.api.post("/v1/sites", {"name": "blog"})
    return control


async def test_blobs_go_straight_to_the_store(s3_control: Control) -> None:
    api: Api = s3_control.api
    contents = {entry_of(content).digest: content for content in FILES.values()}
    opened = (
        await api.post("/v1/sites/blog/uploads", {"blobs": {each: len(content) for each, content in contents.items()}})
    ).document
    assert opened["direct"] is True
    upload = f"/v1/sites/blog/uploads/{opened['id']}"
    request = deploy_request(opened["id"], FILES)

    early = await api.post("/v1/sites/blog/deploys", request)
    assert early.status == 422
    assert len(early.document["details"]) == 2

    urls = (await api.post(f"{upload}/urls", {"digests": opened["missing"]})).document["urls"]
    assert urls.keys() == contents.keys()
    async with aiohttp.ClientSession() as session:
        for digest, target in urls.items():
            async with session.put(target["url"], data=b"x" * len(contents[digest]), headers=target["fields"]) as wrong:
                assert wrong.status >= 400
            async with session.put(target["url"], data=contents[digest], headers=target["fields"]) as right:
                assert right.status == 200
    assert (await api.post("/v1/sites/blog/deploys", request)).status == 201


async def test_urls_are_for_announced_digests_and_few_at_a_time(s3_control: Control) -> None:
    api: Api = s3_control.api
    opened = (await api.post("/v1/sites/blog/uploads", {"blobs": {"a" * 64: 1}})).document
    urls = f"/v1/sites/blog/uploads/{opened['id']}/urls"
    unknown = await api.post(urls, {"digests": ["b" * 64]})
    assert (unknown.status, unknown.document["details"]) == (422, ["b" * 64])
    for digests in ([], [f"{number:064x}" for number in range(1001)]):
        answer = await api.post(urls, {"digests": digests})
        assert (answer.status, answer.document["field"]) == (400, "digests")


async def test_an_archive_goes_into_s3_too(s3_control: Control) -> None:
    answer = await s3_control.api.post("/v1/sites/blog/deploys", data=gzip.compress(tar_of(FILES)))
    assert answer.status == 201, answer
    assert answer.document["uploaded"]["blobs"] == 2
    await s3_control.reopen()
    again = await s3_control.api.post("/v1/sites/blog/deploys", data=gzip.compress(tar_of(FILES)))
    assert again.document["uploaded"]["blobs"] == 0


async def test_a_directory_gives_no_urls(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    opened = (await control.api.post("/v1/sites/blog/uploads", {"blobs": {"a" * 64: 1}})).document
    assert opened["direct"] is False
    answer = await control.api.post(f"/v1/sites/blog/uploads/{opened['id']}/urls", {"digests": ["a" * 64]})
    assert answer.status == 404
