"""What a hostile caller tries on control: other sites' affairs, words that crash, content that never ends."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from cdn.control.sent_files import SentFiles
from cdn.sites.manifest import BundleLimits
from tests.control.control_room import Api, Control, ControlMaker, deploy


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://[::1", "http://a]b/", "http://\u2100.com/", "http://blog.cdn.localhost:99999/", "//x", "\x00"],
)
async def test_a_url_that_is_none_is_named_and_no_fault_of_the_program(api: Api, url: str) -> None:
    answer = await api.get("/v1/explain", params={"url": url})
    assert (answer.status, answer.document["field"]) == (400, "url"), answer


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("blog.cdn.localhost", "/"),
        ("HTTP://blog.cdn.localhost?x=http://y/", "/?x=http://y/"),
        ("https://blog.cdn.localhost:443/\u00fc", "/%C3%BC"),
        ("blog.cdn.localhost/a?b://c", "/a?b://c"),
    ],
)
async def test_a_url_is_explained_however_it_is_written(api: Api, url: str, target: str) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    answer = await api.get("/v1/explain", params={"url": url})
    assert answer.status == 200, answer
    assert (answer.document["site"], answer.document["target"]) == ("blog", target)


async def test_receipts_are_shown_to_those_who_may_read_the_site(control: Control) -> None:
    """I7: when another site deploys and purges is not to be learnt."""
    api = control.api
    for name in ("blog", "shop"):
        await api.post("/v1/sites", {"name": name})
        await deploy(api, name, {"/index.html": name.encode()})
    blog, shop = await api.token_for("purge:blog"), await api.token_for("admin:shop")
    purged = (await blog.post("/v1/sites/blog/purges", {"everything": True})).document["position"]["sequence"]
    last = (await api.get("/v1/status")).document["position"]["sequence"]
    assert (await blog.get(f"/v1/receipts/{purged}")).status == 200
    assert (await api.get(f"/v1/receipts/{purged}")).status == 200
    hidden = await shop.get(f"/v1/receipts/{purged}")
    absent = await shop.get(f"/v1/receipts/{last + 1}")
    assert hidden.status == absent.status == 404
    assert hidden.document["detail"].replace(str(purged), "N") == absent.document["detail"].replace(str(last + 1), "N")
    seen = [sequence for sequence in range(1, last + 1) if (await shop.get(f"/v1/receipts/{sequence}")).status == 200]
    assert len(seen) == 3  # its site, its deploy, its activation; no token, nothing of the other site


async def test_the_traffic_of_all_sites_together_is_for_the_admin(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    node = await control.following_node()
    control.directory.heartbeat_answered(node.node_id, {"hits": 7})
    blog = await control.api.token_for("admin:blog")
    (shown,) = (await control.api.get("/v1/status")).document["nodes"]
    (narrowed,) = (await blog.get("/v1/status")).document["nodes"]
    assert shown["counters"] == {"hits": 7}
    assert narrowed["counters"] == {}


@pytest.mark.parametrize("wait", ["\u0663", "1_0", " 1", "infinity", "0x1", "+1", "1ss", ""])
async def test_wait_is_written_one_way(api: Api, wait: str) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    answer = await api.post("/v1/sites/blog/purges", {"everything": True}, params={"wait": wait})
    assert (answer.status, answer.document["field"]) == (400, "wait"), answer


async def test_the_decoders_own_words_stay_inside(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    for path, content in [
        ("/v1/sites/blog/purges", b'{"tags": ["\xff"]}'),
        ("/v1/sites/blog/deploys", b'{"manifest": {"version": 1, "files": {"/\xff": 1}}}'),
    ]:
        answer = await api.post(path, data=content)
        assert answer.status == 400
        assert "not UTF-8" in answer.document["detail"]
        assert "codec" not in answer.document["detail"]


async def test_a_scope_of_no_site_is_named_as_the_scope(api: Api) -> None:
    for scope in ("deploy:", "deploy:*", "read:a:b", "admin:A"):
        answer = await api.post("/v1/tokens", {"scopes": [scope]})
        assert (answer.status, answer.document["field"]) == (400, "scopes"), answer


async def test_a_tar_header_that_makes_no_sense_is_refused_in_our_words(api: Api) -> None:
    await api.post("/v1/sites", {"name": "blog"})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("holes")
        member.size = 1
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        tar.addfile(member, io.BytesIO(b"1"))
    answer = await api.post("/v1/sites/blog/deploys", data=archive.getvalue())
    assert answer.status == 400
    assert "unpack" not in answer.document["detail"]


class Endless:
    """Content that begins and then says nothing until `over`."""

    def __init__(self, count: int) -> None:
        self.over = asyncio.Event()
        self._unsent = count
        self._all_sent = asyncio.Event()

    async def content(self, begun: bytes) -> AsyncIterator[bytes]:
        yield begun
        self._unsent -= 1
        if not self._unsent:
            self._all_sent.set()
        await self.over.wait()

    async def wait_taken(self, api: Api) -> None:
        """Return when control has seen all of them: it answers what was asked later."""
        await self._all_sent.wait()
        for _ in range(5):
            assert (await api.get("/healthz")).status == 200


def tar_of(content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("index.html")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


async def test_content_that_dribbles_is_given_up(make_control: ControlMaker) -> None:
    """Never silent for long, and never done: it would hold its slot for days."""
    api = (await make_control(stall_timeout_s=0.2, min_upload_rate_bytes_per_s=1_000_000)).api
    await api.post("/v1/sites", {"name": "blog"})

    async def dribble() -> AsyncIterator[bytes]:
        yield tar_of(b"x" * 100_000)[:600]
        for _ in range(1000):
            await asyncio.sleep(0.02)
            yield b"x"

    answer = await api.post("/v1/sites/blog/deploys", data=dribble())
    assert answer.status == 400
    assert "bytes a second" in answer.document["detail"]


async def test_one_site_does_not_hold_every_archive_slot(make_control: ControlMaker) -> None:
    api = (await make_control(max_concurrent_archives=2)).api
    for name in ("greedy", "blog"):
        await api.post("/v1/sites", {"name": name})
    endless = Endless(3)
    held = [
        asyncio.create_task(api.post("/v1/sites/greedy/deploys", data=endless.content(tar_of(b"x")[:600])))
        for _ in range(3)
    ]
    await endless.wait_taken(api)
    async with asyncio.timeout(10):
        assert (await api.post("/v1/sites/blog/deploys", data=tar_of(b"hello"))).status == 201
    endless.over.set()
    assert [answer.status for answer in await asyncio.gather(*held)] == [400] * 3


async def test_one_site_does_not_hold_every_blob_slot(make_control: ControlMaker) -> None:
    api = (await make_control(max_concurrent_blobs=2, max_concurrent_blobs_per_site=1)).api
    digests = [hashlib.sha256(content).hexdigest() for content in (b"one", b"two")]
    blobs = dict.fromkeys(digests, 3)
    uploads = {}
    for name in ("greedy", "blog"):
        await api.post("/v1/sites", {"name": name})
        uploads[name] = f"/v1/sites/{name}/uploads/" + (
            (await api.post(f"/v1/sites/{name}/uploads", {"blobs": blobs})).document["id"] + "/blobs/"
        )
    endless = Endless(2)
    held = [asyncio.create_task(api.put(uploads["greedy"] + digest, data=endless.content(b"o"))) for digest in digests]
    await endless.wait_taken(api)
    async with asyncio.timeout(10):
        assert (await api.put(uploads["blog"] + digests[0], data=b"one")).status == 201
    endless.over.set()
    assert [answer.status for answer in await asyncio.gather(*held)] == [422] * 2


async def test_blobs_of_every_dialect_wait_for_the_same_slots(make_control: ControlMaker) -> None:
    control = await make_control(max_concurrent_blobs=1, max_concurrent_blobs_per_site=1)
    await control.api.post("/v1/sites", {"name": "blog"})
    digest = hashlib.sha256(b"one").hexdigest()
    opened = await control.api.post("/v1/sites/blog/uploads", {"blobs": {digest: 3}})
    endless = Endless(1)
    path = f"/v1/sites/blog/uploads/{opened.document['id']}/blobs/{digest}"
    held = asyncio.create_task(control.api.put(path, data=endless.content(b"o")))
    await endless.wait_taken(control.api)
    services = control.plane.services

    async def content() -> AsyncIterator[bytes]:
        yield b"two"

    async def receive() -> int:
        async with SentFiles(services).received(services.site_named("blog").id, content()) as sent:
            return sent.entry.size_bytes

    receiving = asyncio.create_task(receive())
    await asyncio.wait([receiving], timeout=0.05)
    assert not receiving.done()
    endless.over.set()
    assert (await held).status == 422
    assert await receiving == 3


async def test_one_site_does_not_pin_every_digest(make_control: ControlMaker) -> None:
    """Sessions that are opened and never used must not keep other sites from uploading for an hour."""
    api = (await make_control(max_session_digests=10, max_session_digests_per_site=6)).api
    for name in ("greedy", "blog"):
        await api.post("/v1/sites", {"name": name})
    blobs = {f"{number:064x}": 1 for number in range(4)}
    answers = [await api.post("/v1/sites/greedy/uploads", {"blobs": blobs}) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 503]
    assert int(answers[1].fields["Retry-After"]) > 0
    assert (await api.post("/v1/sites/blog/uploads", {"blobs": blobs})).status == 201


@pytest.mark.parametrize("path", ["uploads", "deploys"])
async def test_a_manifest_of_millions_of_values_is_not_built(make_control: ControlMaker, path: str) -> None:
    """60 MB of empty lists took 1.6 GB of memory and kept the interpreter busy for ten seconds."""
    api = (await make_control(bundle=BundleLimits(max_files=100))).api
    await api.post("/v1/sites", {"name": "blog"})
    for content in (
        b'{"manifest": [' + b"[]," * 1000 + b"[]]}",
        b'{"manifest": {' + b",".join(b'"/%d":{}' % number for number in range(1000)) + b"}}",
        b'{"blobs": {' + b",".join(b'"%d":1' % number for number in range(2000)) + b"}}",
    ):
        answer = await api.post(f"/v1/sites/blog/{path}", data=content)
        assert answer.status == 413, answer
        assert "values" in answer.document["detail"]


async def test_the_largest_manifest_is_within_the_bound_of_values(make_control: ControlMaker) -> None:
    api = (await make_control(bundle=BundleLimits(max_files=3))).api
    await api.post("/v1/sites", {"name": "blog"})
    files = {f"/{number},,{{[": b"%d" % number for number in range(3)}
    assert (await deploy(api, "blog", files)).status == 201


async def test_one_site_does_not_hold_every_place_for_large_manifests(make_control: ControlMaker) -> None:
    api = (await make_control(max_concurrent_manifests=2, max_concurrent_manifests_per_site=1)).api
    for name in ("greedy", "blog"):
        await api.post("/v1/sites", {"name": name})
    endless = Endless(4)
    held = [
        asyncio.create_task(api.post(f"/v1/sites/greedy/{path}", data=endless.content(b'{"manifest": ' + b" " * 600)))
        for path in ("deploys", "uploads", "deploys", "uploads")
    ]
    await endless.wait_taken(api)

    async def unannounced() -> AsyncIterator[bytes]:
        yield b'{"blobs": {}}'

    async with asyncio.timeout(10):
        assert (await api.post("/v1/sites/blog/uploads", data=unannounced())).status == 201
        assert (await api.post("/v1/sites/greedy/uploads", {"blobs": {}})).status == 201  # short: it needs no turn
    endless.over.set()
    assert [answer.status for answer in await asyncio.gather(*held)] == [400] * 4
