"""What other vendors' clients are told is there stays there until they have deployed, whatever is swept meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.control import pages_assets
from cdn.control.pages_digest import pages_digest
from cdn.control.uploads import STAY_S
from tests.control.control_room import Control, entry_of
from tests.control.deploy_clients import NetlifyClient, PagesClient, asset, sha1_of
from tests.control.test_sweep import DAY_S, key_of, keys, site_id, sweep

OLD, NEW = b"useless for long", b"new"


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    control = await Control(tmp_path).open()
    await control.api.post("/v1/sites", {"name": "blog", "settings": {"prepare_timeout_s": 0.1}})
    yield control
    await control.close()


async def grow_useless(control: Control) -> None:
    """Whatever the site has sent so far may be removed by the next sweep."""
    await sweep(control)
    control.clock.now += DAY_S + 1


async def send_old(control: Control) -> None:
    """OLD is there, by both vendors' digests, and no deploy names it."""
    netlify, pages = NetlifyClient(control.api), PagesClient(control.api)
    deploy_id = (await netlify.begin())["id"]
    await netlify.announce(deploy_id, {"old.txt": OLD, "never.txt": b"sent"})
    assert (await netlify.send(deploy_id, "old.txt", OLD)).status == 200
    assert (await pages.upload(await pages.upload_token(), [asset("old.txt", OLD)])).status == 200


async def test_what_netlify_does_not_require_is_there_for_the_deploy(control: Control) -> None:
    client = NetlifyClient(control.api)
    await send_old(control)
    await grow_useless(control)
    deploy_id = (await client.begin())["id"]
    announced = await client.announce(deploy_id, {"old.txt": OLD, "new.txt": NEW})
    assert announced.document["required"] == [sha1_of(NEW)]
    assert (await sweep(control))["removed"] == 0
    assert (await client.send(deploy_id, "new.txt", NEW)).status == 200
    assert (await client.wait(deploy_id))["state"] == "ready"


async def test_what_pages_does_not_miss_is_there_for_the_deployment(control: Control) -> None:
    client = PagesClient(control.api)
    await send_old(control)
    await grow_useless(control)
    manifest = {"/old.txt": pages_digest(OLD, "txt"), "/new.txt": pages_digest(NEW, "txt")}
    token = await client.upload_token()
    missing = await client.check_missing(token, list(manifest.values()))
    assert missing.document["result"] == [manifest["/new.txt"]]
    assert (await sweep(control))["removed"] == 0
    assert (await client.upload(token, [asset("new.txt", NEW)])).status == 200
    assert (await client.deployment(manifest)).status == 200


async def test_what_they_send_again_is_not_removed_as_what_it_was(control: Control) -> None:
    """Known useless for a day by another road, and sent just now."""
    netlify, pages = NetlifyClient(control.api), PagesClient(control.api)
    await send_old(control)
    await grow_useless(control)
    assert (await pages.upload(await pages.upload_token(), [asset("old.txt", OLD)])).status == 200
    assert (await sweep(control))["removed"] == 0
    control.clock.now += STAY_S
    deploy_id = (await netlify.begin(files={"old.txt": sha1_of(OLD)}))["id"]
    assert (await sweep(control))["removed"] == 0
    assert (await netlify.wait(deploy_id))["state"] == "ready"


async def test_whoever_does_not_come_back_keeps_nothing_for_ever(control: Control) -> None:
    client = PagesClient(control.api)
    await send_old(control)
    await grow_useless(control)
    await client.check_missing(await client.upload_token(), [pages_digest(OLD, "txt")])
    control.clock.now += STAY_S / 2 - 1
    assert (await sweep(control))["removed"] == 0
    control.clock.now += STAY_S
    assert (await sweep(control))["removed"] > 0
    assert key_of(control, OLD) not in await keys(control)
    missing = await client.check_missing(await client.upload_token(), [pages_digest(OLD, "txt")])
    assert missing.document["result"] == [pages_digest(OLD, "txt")]


async def test_what_is_taken_down_goes_although_somebody_uploads(control: Control) -> None:
    client = PagesClient(control.api)
    await send_old(control)
    await client.check_missing(await client.upload_token(), [pages_digest(OLD, "txt")])
    digest = entry_of(OLD).digest
    taken = await control.api.post("/v1/takedowns", {"digest": digest, "site": "blog"})
    assert taken.status == 201, taken
    assert key_of(control, OLD) not in await keys(control)
    assert control.plane.services.takedowns.of(site_id(control), digest) is not None


async def test_a_digest_that_was_wrong_once_comes_right(control: Control) -> None:
    """A file that changed between being hashed and being sent."""
    client = PagesClient(control.api)
    digest = pages_digest(b"right", "txt")
    token = await client.upload_token()
    assert (await client.upload(token, [{**asset("a.txt", b"wrong"), "key": digest}])).status == 200
    assert (await client.deployment({"/a.txt": digest})).status == 422
    answer, missing = await client.deploy({"a.txt": b"right"})
    assert missing == [digest]
    assert answer.status == 200, answer


async def test_digests_of_types_that_nobody_knows_are_verified_whatever_their_number(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of a search has thousands; one of them is at two paths, and one is wrong."""
    monkeypatch.setattr(pages_assets, "CHECKS_AT_ONCE", 5)
    client = PagesClient(control.api)
    files = {f"index/{number}.pf_fragment": b"%d" % number for number in range(12)}
    answer, missing = await client.deploy({**files, "again/0.pf_fragment": b"0"})
    assert (answer.status, len(missing)) == (200, len(files)), answer
    wrong = pages_digest(b"right", "pf_meta")
    token = await client.upload_token()
    await client.upload(token, [{**asset("x.pf_meta", b"wrong"), "key": wrong}, asset("y.pf_meta", b"y")])
    refused = await client.deployment({"/x.pf_meta": wrong, "/y.pf_meta": pages_digest(b"y", "pf_meta")})
    assert refused.status == 422
    assert [error["message"] for error in refused.document["errors"][1:]] == [
        f"/x.pf_meta: its content does not have the digest {wrong}"
    ]
