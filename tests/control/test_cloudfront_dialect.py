"""CloudFront's invalidations over HTTP, and with the vendor's own command line where waiting counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import botocore.auth
import msgspec
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cdn.control import cloudfront_dialect, invalidations
from cdn.control.invalidations import DOCUMENT_VERSION, Invalidations
from cdn.errors import NotFound
from cdn.fleet.position import Position
from cdn.journal.record import Purged
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable
from cdn.purge.cloudfront import NAMESPACE, Batch
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Api, Control, ControlMaker
from tests.purge.test_cloudfront import batch_xml
from tests.servers.aws_cli import cloudfront_environ, cloudfront_words

ROOT = "/2020-05-31/distribution/{}/invalidation"


@dataclass
class Answer:
    """An answer in XML."""

    status: int
    root: ET.Element
    fields: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.root.findtext(f".//{{{NAMESPACE}}}{name}") or ""

    def texts(self, name: str) -> list[str]:
        return [found.text or "" for found in self.root.iter(f"{{{NAMESPACE}}}{name}")]


@dataclass
class Signer:
    """Calls with an access key; botocore signs, as the wall clock of this control says."""

    control: Control
    key_id: str
    secret: str

    async def call(self, method: str, path: str, content: bytes = b"", *, skew_s: float = 0.0) -> Answer:
        url = str(self.control.api.client.make_url(path))
        sent: Any = AWSRequest(method=method, url=url, data=content)
        signer: Any = botocore.auth.SigV4Auth(Credentials(self.key_id, self.secret), "cloudfront", "us-east-1")
        self.control.clock.now = time.time() + skew_s
        signer.add_auth(sent)
        return await send(self.control.api, method, path, content, dict(sent.headers.items()))

    async def create(self, paths: list[str], reference: str, site: str = "blog") -> Answer:
        return await self.call("POST", ROOT.format(site), batch_xml(paths, reference))


async def send(api: Api, method: str, path: str, content: bytes, fields: Mapping[str, str]) -> Answer:
    async with api.client.request(method, path, data=content or None, headers=fields) as response:
        return Answer(response.status, ET.fromstring(await response.read()), dict(response.headers))


@pytest.fixture
async def keyed(make_control: ControlMaker) -> Control:
    control = await make_control(max_purged_urls_per_minute=3)
    control.control_keys = KeyRing([SealingKey(b"k" * 32)], "test")
    await control.reopen()
    for name in ("blog", "shop"):
        await control.api.post("/v1/sites", {"name": name})
    return control


async def signer(control: Control, *scopes: str, expires_s: float | None = None) -> Signer:
    made = await control.api.post("/v1/tokens", {"scopes": list(scopes), "aws": True, "expires_s": expires_s})
    key = made.document["aws"]
    return Signer(control, key["access_key_id"], key["secret_access_key"])


async def _scopes(control: Control, answer: Answer) -> set[tuple[str, str]]:
    sequence = int(answer.fields["CDN-Receipt"].rpartition("/")[2])
    (record,) = await control.journal.read(sequence - 1, limit=1)
    assert isinstance(record.change, Purged)
    assert not record.change.soft
    return {(scope.kind, scope.value) for scope in record.change.scopes}


async def test_an_invalidation_is_a_purge_and_in_progress_until_every_node_has_applied_it(
    keyed: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudfront_dialect, "LOOK_S", 0.0)
    await keyed.reopen()
    node = await keyed.node()
    aws = await signer(keyed, "purge:blog")
    made = await aws.create(["/a", "/img/*"], "one")
    assert (made.status, made.text("Status"), made.texts("Path")) == (201, "InProgress", ["/a", "/img/*"])
    assert await _scopes(keyed, made) == {("url", "/a"), ("prefix", "/img/")}
    path = made.fields["Location"].partition("/2020")[2]
    shown = await aws.call("GET", f"/2020{path}")
    assert (shown.status, shown.text("Id"), shown.text("Status")) == (200, made.text("Id"), "InProgress")
    listed = await aws.call("GET", ROOT.format("blog"))
    assert listed.texts("Status") == ["InProgress"]
    node.directory.applied("edge-1", keyed.plane.state.position)
    assert (await aws.call("GET", ROOT.format("blog"))).texts("Status") == ["Completed"]
    shown = await aws.call("GET", f"/2020{path}")
    assert (shown.text("Status"), shown.text("CallerReference")) == ("Completed", "one")


async def test_the_same_reference_is_the_same_invalidation_and_not_another_purge(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog", "purge:shop")
    made = await aws.create(["/a", "/b"], "one")
    before = keyed.plane.state.position
    again = await aws.create(["/b", "/a"], "one")
    assert (again.status, again.text("Id")) == (201, made.text("Id"))
    other = await aws.create(["/c"], "one")
    assert (other.status, other.text("Code")) == (400, "InvalidationBatchAlreadyExists")
    assert keyed.plane.state.position == before
    assert (await aws.create(["/c"], "one", "shop")).text("Id") != made.text("Id"), "another site's references"
    await keyed.reopen()
    assert (await aws.create(["/a", "/b"], "one")).text("Id") == made.text("Id"), "and after a restart"


async def test_what_is_listed_is_the_sites_newest_first_page_by_page(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog", "purge:shop")
    ids = []
    for number in range(5):
        keyed.clock.now += 1
        ids.append((await aws.create([f"/{number}*"], f"r{number}")).text("Id"))
    await aws.create(["/x"], "x", "shop")
    first = await aws.call("GET", ROOT.format("blog") + "?MaxItems=2")
    assert (first.texts("Id"), first.text("IsTruncated")) == (ids[:2:-1], "true")
    second = await aws.call("GET", ROOT.format("blog") + f"?Marker={first.text('NextMarker')}&MaxItems=3")
    assert (second.texts("Id"), second.text("IsTruncated"), second.text("NextMarker")) == (ids[2::-1], "false", "")
    assert second.texts("Status") == ["Completed"] * 3
    assert (await aws.call("GET", ROOT.format("blog") + "?MaxItems=none")).text("Code") == "InvalidArgument"


FAULTS: Sequence[tuple[bytes, int, str]] = (
    (b"", 400, "MissingBody"),
    (b"<a/>", 400, "MalformedInput"),
    (batch_xml(["/a"], "r", quantity=3), 400, "InconsistentQuantities"),
    (batch_xml(["/a*b"], "r"), 400, "InvalidArgument"),
    (batch_xml(["http://shop.cdn.localhost/a"], "r"), 400, "InvalidArgument"),
    (batch_xml(["/%zz"], "r"), 400, "InvalidArgument"),
    (batch_xml([f"/{number}" for number in range(1001)], "r"), 413, "BatchTooLarge"),
    (b" " * (1024 * 1024 + 1), 413, "BatchTooLarge"),
)


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_what_cannot_be_invalidated_is_told_in_the_vendors_codes(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog")
    before = keyed.plane.state.position
    for content, status, code in FAULTS:
        answer = await aws.call("POST", ROOT.format("blog"), content)
        assert (answer.status, answer.text("Code"), answer.text("Type")) == (status, code, "Sender")
        assert answer.text("RequestId") == answer.fields["x-amzn-RequestId"]
    assert keyed.plane.state.position == before


async def test_too_often(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog")
    assert (await aws.create(["/a", "/b", "/c"], "one")).status == 201
    refused = await aws.create(["/d"], "two")
    assert (refused.status, refused.text("Code"), refused.fields["Retry-After"]) == (429, "Throttling", "20")


async def test_who_may_not_is_told_the_same_of_what_is_and_what_is_not(keyed: Control) -> None:
    shop, admin = await signer(keyed, "purge:shop"), await signer(keyed, "admin")
    refusals = [await shop.create(["/a"], "r", site) for site in ("blog", "body")]
    assert {(one.status, one.text("Code")) for one in refusals} == {(403, "AccessDenied")}
    messages = {one.text("Message").replace("blog", "X").replace("body", "X") for one in refusals}
    assert len(messages) == 1
    assert (await admin.create(["/a"], "r", "body")).text("Code") == "NoSuchDistribution"
    made = await admin.create(["/a"], "r")
    assert made.status == 201
    read = await signer(keyed, "read:blog")
    assert (await read.create(["/a"], "s")).status == 403
    assert (await read.call("GET", f"{ROOT.format('blog')}/{made.text('Id')}")).status == 200
    assert (await shop.call("GET", f"{ROOT.format('shop')}/{made.text('Id')}")).text("Code") == "NoSuchInvalidation"
    for unknown in ("I0", "I" + "0" * 25, ".." + "0" * 24):
        assert (await read.call("GET", f"{ROOT.format('blog')}/{unknown}")).text("Code") == "NoSuchInvalidation"


async def test_who_is_not_who_they_say_changes_nothing(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog")
    before = keyed.plane.state.position

    async def refused(by: Signer, **how: Any) -> tuple[int, str]:
        answer = await by.call("POST", ROOT.format("blog"), batch_xml(["/a"], "r"), **how)
        return answer.status, answer.text("Code")

    bad = (403, "SignatureDoesNotMatch")
    assert await refused(Signer(keyed, aws.key_id, "wrong")) == bad
    assert await refused(aws, skew_s=301) == bad
    assert await refused(aws, skew_s=-301) == bad
    assert await refused(Signer(keyed, "0" * 16, aws.secret)) == (403, "InvalidClientTokenId")
    plain = await keyed.api.post("/v1/tokens", {"scopes": ["purge:blog"]})
    assert await refused(Signer(keyed, plain.document["id"], "")) == (403, "InvalidClientTokenId")
    keyed.clock.now = time.time() - 2000
    assert await refused(await signer(keyed, "purge:blog", expires_s=1000)) == (403, "InvalidClientTokenId")
    bearer = await send(keyed.api, "GET", ROOT.format("blog"), b"", {"Authorization": f"Bearer {keyed.admin_token}"})
    assert (bearer.status, bearer.text("Code")) == (403, "IncompleteSignature")
    nobody = await send(keyed.api, "GET", ROOT.format("blog"), b"", {})
    assert (nobody.status, nobody.text("Code")) == (403, "MissingAuthenticationToken")
    assert await refused(aws, skew_s=0) == (201, "")
    await keyed.api.delete(f"/v1/tokens/{aws.key_id}")
    assert await refused(aws) == (403, "InvalidClientTokenId")
    assert before.sequence + 4 == keyed.plane.state.position.sequence, "two tokens, a purge and a revocation"


async def test_what_is_not_spoken_here_is_told_in_xml(keyed: Control) -> None:
    answer = await send(keyed.api, "GET", "/2020-05-31/distribution/blog", b"", {})
    assert (answer.status, answer.text("Code")) == (404, "UnknownOperationException")


async def test_a_purge_whose_document_cannot_be_kept_may_be_sent_again(
    keyed: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered is in the store; what was not is asked for once more, and twice is as good as once."""
    aws = await signer(keyed, "purge:blog")
    put = DirectoryStore.put
    refused = ["invalidations/", "invalidation-references/"]

    async def full(store: DirectoryStore, key: str, content: bytes, **how: Any) -> Any:
        if refused and refused[0] in key:
            del refused[0]
            raise StoreUnavailable("the disk is full")
        return await put(store, key, content, **how)

    monkeypatch.setattr(DirectoryStore, "put", full)
    for _ in range(2):
        assert (await aws.create(["/a*"], "r")).text("Code") == "ServiceUnavailable"
    made = await aws.create(["/a*"], "r")
    assert made.status == 201
    assert (await aws.create(["/a*"], "r")).text("Id") == made.text("Id")


async def test_a_key_that_control_no_longer_has_is_told_as_its_own_fault(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog")
    keyed.control_keys = KeyRing([SealingKey(b"x" * 32)], "test")
    await keyed.reopen()
    answer = await aws.create(["/a"], "r")
    assert (answer.status, answer.text("Code"), answer.text("Type")) == (503, "ServiceUnavailable", "Receiver")


async def test_what_others_kept_meanwhile_under_a_reference_counts(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    here, there = Invalidations(store), Invalidations(store)
    batch = Batch(("/a",), "r")
    first = await here.keep("s", batch, Position("e", 1), 1000.0)
    second = await there.keep("s", batch, Position("e", 2), 1001.0)
    assert second == first
    assert [one.id for one in (await here.listed("s", "", 10))[0]] == [first.id]
    await store.delete(f"sites/s/invalidations/{first.id}")
    third = await here.keep("s", batch, Position("e", 3), 1002.0)
    assert await there.of_reference("s", "r") == third
    await store.aclose()


@pytest.mark.parametrize("raw", [b"{", b'{"id": 1}', "newer"])
async def test_an_invalidation_that_cannot_be_read_is_none(tmp_path: Path, raw: bytes | str) -> None:
    store = DirectoryStore(tmp_path)
    kept, batch = Invalidations(store), Batch(("/a",), "once")
    made = await kept.keep("s1", batch, Position("e", 5), 1000.0)
    assert await kept.get("s1", made.id) == made
    newer = msgspec.json.encode(msgspec.structs.replace(made, version=DOCUMENT_VERSION + 1))
    await store.put(f"sites/s1/invalidations/{made.id}", newer if isinstance(raw, str) else raw)
    with pytest.raises(NotFound):
        await kept.get("s1", made.id)
    assert await kept.of_reference("s1", "once") is None
    await store.aclose()


async def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidations, "MAX_KEPT", 3)
    monkeypatch.setattr(invalidations, "PRUNE_EVERY", 5)
    store = DirectoryStore(tmp_path)
    kept = Invalidations(store)
    made = [await kept.keep("s", Batch(("/a",), f"r{n}"), Position("e", n), 1000.0 + n) for n in range(11)]
    listed, has_more = await kept.listed("s", "", 100)
    assert ([one.id for one in listed], has_more) == ([one.id for one in made[:7:-1]], False)
    assert await kept.of_reference("s", "r0") is None
    with pytest.raises(NotFound):
        await kept.get("s", made[0].id)
    assert len([facts async for facts in store.scan("sites/s/")]) == 6
    for n in range(11, 15):
        await Invalidations(store).keep("s", Batch(("/a",), f"r{n}"), Position("e", n), 1000.0 + n)
    assert len((await kept.listed("s", "", 100))[0]) == 3, "however often control restarts"
    await store.aclose()


async def test_of_an_epoch_that_is_over_nodes_have_to_have_begun_the_present_one(keyed: Control) -> None:
    aws = await signer(keyed, "purge:blog")
    await keyed.node()
    site_id = keyed.plane.services.site_named("blog").id
    kept = Invalidations(keyed.store)
    old = await kept.keep(site_id, Batch(("/a",), "old"), Position("former", 900), 1000.0)
    shown = await aws.call("GET", f"{ROOT.format('blog')}/{old.id}")
    assert shown.text("Status") == "Completed"


async def test_the_stock_wait_ends_when_and_only_when_the_last_node_has_applied_it(
    keyed: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the vendor's command line: it asks once, is kept waiting, and ends."""
    keyed.clock.now = time.time()
    asked = asyncio.Event()
    receipt = type(keyed.plane.services).receipt

    async def noticed(services: Any, record: Any, wait_s: float) -> Any:
        if wait_s == cloudfront_dialect.LOOK_S:
            asked.set()
        return await receipt(services, record, wait_s)

    monkeypatch.setattr(type(keyed.plane.services), "receipt", noticed)
    nodes = [await keyed.node(f"edge-{number}") for number in (1, 2)]
    aws = await signer(keyed, "purge:blog")
    environ = cloudfront_environ(tmp_path, aws.key_id, aws.secret)
    url = str(keyed.api.client.make_url(""))

    async def run(*words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *cloudfront_words(url, *words), env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )

    creating = await run("create-invalidation", "--distribution-id", "blog", "--paths", "/a", "/img/*")
    out, errors = await creating.communicate()
    assert creating.returncode == 0, errors
    made = json.loads(out)["Invalidation"]
    assert (made["Status"], made["InvalidationBatch"]["Paths"]["Items"]) == ("InProgress", ["/a", "/img/*"])
    waiting = await run("wait", "invalidation-completed", "--distribution-id", "blog", "--id", made["Id"])
    end = asyncio.create_task(waiting.communicate())
    await asyncio.wait_for(asked.wait(), 30)
    nodes[0].directory.applied("edge-1", keyed.plane.state.position)
    await keyed.api.get("/v1/status")
    assert not end.done(), "one node of two has not applied it"
    assert waiting.returncode is None
    nodes[1].directory.applied("edge-2", keyed.plane.state.position)
    _, errors = await asyncio.wait_for(end, 10)
    assert waiting.returncode == 0, errors
