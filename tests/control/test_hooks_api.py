"""Hooks that receive: whose messages count, and that each is worked on once."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cdn.journal.record import DeployActivated, Purged
from cdn.tls.sealed import KeyRing, SealingKey
from tests.control.control_room import Answer, Api, Control, ControlMaker, deploy
from tests.control.hook_senders import github_fields, post_hook, push, standard_fields, stripe_fields

KEY = SealingKey(os.urandom(32))
PURGE_ALL = {"do": "purge", "everything": True}


@pytest.fixture
async def control(make_control: ControlMaker, tmp_path: Path) -> Control:
    control = await make_control()
    await control.close()
    control.control_keys = KeyRing([KEY], "test")
    await control.open()
    await control.following_node()
    made = await control.api.post("/v1/sites", {"name": "blog"})
    assert made.status == 201, made
    return control


async def hook_of(api: Api, inbound: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Its path and secret."""
    made = await api.post("/v1/sites/blog/hooks", {"inbound": inbound, **more})
    assert made.status == 201, made.document
    return made.document["hook"]["path"], made.document["secret"]


async def records_of(control: Control, kind: type) -> list[Any]:
    return [each for each in await control.journal.read(0, limit=1000) if isinstance(each.change, kind)]


async def test_a_push_purges_what_its_template_names_and_is_answered_with_the_receipt(control: Control) -> None:
    action = {"do": "purge", "prefixes": ["/docs/{/commits/*/modified/*}"], "tags": ["repo-{/repository/name}"]}
    path, secret = await hook_of(control.api, {"scheme": "github", "action": action, "branches": ["main"]})
    content = push(commits=[{"modified": ["a b.md", "c.md"]}], repository={"name": "site"})
    answer = await post_hook(control.api, path, content, github_fields(secret, content), params={"wait": "5"})
    assert answer.status == 200, answer.document
    assert answer.document["state"] == "done"
    assert answer.document["receipt"]["complete"]
    (record,) = await records_of(control, Purged)
    assert {(scope.kind, scope.value) for scope in record.change.scopes} == {
        ("prefix", "/docs/a%20b.md"),
        ("prefix", "/docs/c.md"),
        ("tag", "repo-site"),
    }
    assert record.actor == f"hook:{path.rpartition('/')[2]}:{answer.document['delivery']}"


async def test_the_same_delivery_is_answered_with_the_same_receipt_and_done_once(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = push()
    fields = github_fields(secret, content)
    first = await post_hook(control.api, path, content, fields)
    for _ in range(3):
        again = await post_hook(control.api, path, content, fields)
        assert again.document["repeated"]
        assert again.document["delivery"] == first.document["delivery"]
        assert again.document["receipt"]["position"] == first.document["receipt"]["position"]
    renamed = await post_hook(control.api, path, content, github_fields(secret, content))
    assert renamed.document["repeated"], "a replay under another delivery id is the same message"
    assert len(await records_of(control, Purged)) == 1


async def test_deliveries_that_race_are_done_once(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = push()
    answers = await asyncio.gather(
        *(post_hook(control.api, path, content, github_fields(secret, content)) for _ in range(8))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.document["delivery"] for answer in answers}) == 1
    assert len(await records_of(control, Purged)) == 1


@pytest.mark.parametrize("scheme", ["github", "gitlab", "bitbucket", "stripe", "standard", "token"])
async def test_what_is_not_signed_with_the_secret_is_refused_and_nothing_is_kept(control: Control, scheme: str) -> None:
    path, _ = await hook_of(control.api, {"scheme": scheme, "action": PURGE_ALL})
    content, wrong, now = push(), "not-the-secret-of-this-hook", int(control.clock())
    for fields in (
        {},
        github_fields(wrong, content),
        {"X-Hub-Signature": github_fields(wrong, content)["X-Hub-Signature-256"]},
        {"X-Gitlab-Token": wrong},
        {"Authorization": f"Bearer {wrong}"},
        {"Authorization": f"Bearer {control.admin_token}"},
        stripe_fields(wrong, content, now),
        standard_fields(wrong, content, now, "msg_1"),
    ):
        answer = await post_hook(control.api, path, content, dict(fields))
        assert (answer.status, answer.is_problem) == (401, True), fields
    hook_id = path.rpartition("/")[2]
    listed = await control.api.get(f"/v1/sites/blog/hooks/{hook_id}/deliveries")
    assert not listed.document["deliveries"]
    assert listed.document["refused"]
    assert not await records_of(control, Purged)


async def test_10_mb_are_refused_before_they_are_read(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = b"x" * 10_000_000
    fields = github_fields(secret, content)
    answer = await control.api.call("POST", path, data=io.BytesIO(content), token=None, fields=fields)
    assert answer.status == 413

    async def endless() -> Any:
        for _ in range(200):
            yield b"y" * 65_536

    chunked = await control.api.call("POST", path, data=endless(), token=None, fields=github_fields(secret, b""))
    assert chunked.status == 413


async def test_a_signed_time_that_is_off_is_refused(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "stripe", "action": PURGE_ALL, "tolerance_s": 60})
    content = json.dumps({"id": "evt_1", "type": "price.updated"}).encode()
    now = int(control.clock())
    late = await post_hook(control.api, path, content, stripe_fields(secret, content, now - 61))
    early = await post_hook(control.api, path, content, stripe_fields(secret, content, now + 61))
    assert (late.status, early.status) == (401, 401)
    right = await post_hook(control.api, path, content, stripe_fields(secret, content, now - 59))
    assert right.document["state"] == "done"
    again = await post_hook(control.api, path, content, stripe_fields(secret, content, now))
    assert again.document["repeated"], "the id of the event names it, not its time"


async def test_events_branches_and_conditions_let_in_what_they_name(control: Control) -> None:
    hook = {
        "scheme": "github",
        "action": PURGE_ALL,
        "events": ["workflow_run"],
        "branches": ["release/*"],
        "only_if": {"/workflow_run/conclusion": "success"},
    }
    path, secret = await hook_of(control.api, hook)

    async def said(event: str, branch: str, conclusion: str) -> str:
        run = {"head_branch": branch, "conclusion": conclusion, "id": f"{event}{branch}{conclusion}"}
        content = json.dumps({"workflow_run": run}).encode()
        answer = await post_hook(control.api, path, content, github_fields(secret, content, event))
        assert answer.status == 200
        return str(answer.document["state"])

    assert await said("workflow_run", "release/1", "success") == "done"
    assert await said("workflow_run", "main", "success") == "ignored"
    assert await said("workflow_run", "release/1", "failure") == "ignored"
    assert await said("push", "release/1", "success") == "ignored"
    assert await said("ping", "release/1", "success") == "ignored"
    assert len(await records_of(control, Purged)) == 1


async def test_a_secret_counts_until_its_time_is_over_after_it_was_rotated(control: Control) -> None:
    path, first = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    hook = f"/v1/sites/blog/hooks/{path.rpartition('/')[2]}"
    rotated = await control.api.post(f"{hook}/rotate", {"keep_s": 100})
    second = rotated.document["secret"]
    assert second != first

    async def status(secret: str) -> int:
        content = push()
        return (await post_hook(control.api, path, content, github_fields(secret, content))).status

    assert [await status(first), await status(second)] == [200, 200]
    control.clock.now += 101
    assert [await status(first), await status(second)] == [401, 200]
    third = (await control.api.post(f"{hook}/rotate", {"keep_s": 0, "secret": "brought-by-the-sender"})).document
    assert third["secret"] == "brought-by-the-sender"
    assert [await status(second), await status("brought-by-the-sender")] == [401, 200]


async def test_secrets_are_shown_once_and_lie_nowhere_in_clear(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = push()
    await post_hook(control.api, path, content, github_fields(secret, content))
    listed = await control.api.get("/v1/sites/blog/hooks")
    assert secret not in json.dumps(listed.document)
    await control.close()
    for file in control.root.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


async def test_a_hook_is_its_sites_alone(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "shop"})
    path, _ = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    hook_id = path.rpartition("/")[2]
    other = await control.api.token_for("admin:shop")
    assert (await other.get("/v1/sites/blog/hooks")).status == 403
    assert (await other.get(f"/v1/sites/shop/hooks/{hook_id}")).status == 404
    assert (await other.delete(f"/v1/sites/shop/hooks/{hook_id}")).status == 404
    deployer = await control.api.token_for("deploy:blog")
    assert (await deployer.post("/v1/sites/blog/hooks", {})).status == 403
    own = await control.api.token_for("admin:blog")
    assert (await own.delete(f"/v1/sites/blog/hooks/{hook_id}")).status == 200
    assert (await post_hook(control.api, path, b"{}", {})).status == 404


async def test_a_failed_delivery_is_tried_again_when_it_comes_again(control: Control) -> None:
    action = {"do": "activate", "commit": "{/after}", "on": "production"}
    path, secret = await hook_of(control.api, {"scheme": "github", "action": action})
    content = push(after="0123456789abcdef")
    fields = github_fields(secret, content)
    first = await post_hook(control.api, path, content, fields)
    assert first.status == 404
    assert "no deploy of commit" in first.document["detail"]
    again = await post_hook(control.api, path, content, fields)
    assert again.status == 404
    hook_id = path.rpartition("/")[2]
    (kept,) = (await control.api.get(f"/v1/sites/blog/hooks/{hook_id}/deliveries")).document["deliveries"]
    assert (kept["state"], kept["attempt_count"]) == ("failed", 2)


async def test_who_sends_what_fails_again_and_again_does_not_have_the_journal_read_each_time(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = {"do": "activate", "commit": "{/after}", "on": "production"}
    path, secret = await hook_of(control.api, {"scheme": "github", "action": action})
    content = push(after="0123456789abcdef")
    fields = github_fields(secret, content)
    journal, read = control.plane.state.journal, 0
    read_from = journal.read

    async def counting(after: int, **more: Any) -> Any:
        nonlocal read
        records = await read_from(after, **more)
        read += len(records)
        return records

    monkeypatch.setattr(journal, "read", counting)
    assert (await post_hook(control.api, path, content, fields)).status == 404
    for _ in range(50):
        assert (await control.api.post("/v1/sites/blog/purges", {"everything": True})).status in (200, 202)
    counts = []
    for _ in range(4):
        before = read
        assert (await post_hook(control.api, path, content, fields)).status == 404
        counts.append(read - before)
    assert counts[0] >= 50
    assert max(counts[1:]) < 10


async def test_work_that_died_after_its_record_is_not_done_twice(control: Control) -> None:
    """As after a kill -9 between the record and what is kept of the delivery."""
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = push()
    fields = github_fields(secret, content)
    room = control.plane.services.hook_room
    kept = room.deliveries.keep

    async def dies(delivery: Any) -> None:
        raise RuntimeError("killed")

    room.deliveries.keep = dies
    assert (await post_hook(control.api, path, content, fields)).status == 500
    room.deliveries.keep = kept
    control.clock.now += 200
    again = await post_hook(control.api, path, content, fields)
    assert again.status == 200
    (record,) = await records_of(control, Purged)
    assert again.document["receipt"]["position"]["sequence"] == record.sequence


async def test_more_messages_than_a_minute_takes_are_put_off_and_wrong_ones_cost_nothing(
    make_control: ControlMaker,
) -> None:
    control = await make_control(max_hook_messages_per_minute=2)
    await control.close()
    control.control_keys = KeyRing([SealingKey(os.urandom(32))], "test")
    await control.open()
    await control.api.post("/v1/sites", {"name": "blog"})
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})

    async def sent(by: str) -> Answer:
        content = push()
        return await post_hook(control.api, path, content, github_fields(by, content))

    assert [(await sent("a wrong secret....")).status for _ in range(5)] == [401] * 5
    assert [(await sent(secret)).status for _ in range(2)] == [200, 200]
    refused = await sent(secret)
    assert (refused.status, refused.is_problem) == (429, True)
    assert 1 <= int(refused.fields["Retry-After"]) <= 30


async def test_a_control_that_lost_its_key_says_so_and_blames_nobody(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    await control.close()
    control.control_keys = KeyRing([SealingKey(os.urandom(32))], "other")
    await control.open()
    content = push()
    answer = await post_hook(control.api, path, content, github_fields(secret, content))
    assert answer.status == 503
    assert "add that key to the file" in answer.document["detail"]


async def test_a_key_may_go_once_another_stands_before_it(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    new = SealingKey(os.urandom(32))
    for keys, done in ([new, KEY], 1), ([new], 0):
        await control.close()
        control.control_keys = KeyRing(keys, "test")
        await control.open()
        assert await control.plane._sealing_hooks == done
    content = push()
    assert (await post_hook(control.api, path, content, github_fields(secret, content))).document["state"] == "done"


async def test_without_a_key_no_hook_is_made(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    made = await control.api.post("/v1/sites/blog/hooks", {"inbound": {"scheme": "github", "action": PURGE_ALL}})
    assert made.status == 409
    assert "control_key_file" in made.document["detail"]


async def test_a_push_activates_the_uploaded_deploy_of_its_commit(control: Control) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    made = await deploy(control.api, "blog", {"/index.html": b"new"}, alias="next", commit=commit)
    action = {"do": "activate", "commit": "{/after}"}
    path, secret = await hook_of(control.api, {"scheme": "gitlab", "action": action, "events": ["push"]})
    content = json.dumps({"object_kind": "push", "after": commit}).encode()
    fields = {"X-Gitlab-Token": secret, "X-Gitlab-Event": "Push Hook", "Idempotency-Key": "one"}
    answer = await post_hook(control.api, path, content, fields, params={"wait": "5"})
    assert answer.status == 200, answer.document
    assert answer.document["says"] == f"deploy {made.document['deploy']['id']} is active on production"
    site = await control.api.get("/v1/sites/blog")
    assert site.document["active"] == made.document["deploy"]["id"]
    record = (await records_of(control, DeployActivated))[-1]
    assert record.actor.startswith(f"hook:{path.rpartition('/')[2]}:")


async def test_a_late_replay_does_not_bring_an_old_deploy_back(control: Control) -> None:
    deploys = [
        (await deploy(control.api, "blog", {"/index.html": content}, alias="next")).document["deploy"]["id"]
        for content in (b"one", b"two")
    ]
    path, secret = await hook_of(control.api, {"scheme": "github", "action": {"do": "activate", "deploy": "{/id}"}})
    messages = [push(id=deploy_id) for deploy_id in deploys]
    for content in messages:
        assert (await post_hook(control.api, path, content, github_fields(secret, content))).status == 200
    replayed = await post_hook(control.api, path, messages[0], github_fields(secret, messages[0]))
    assert replayed.document["repeated"]
    assert (await control.api.get("/v1/sites/blog")).document["active"] == deploys[1]


async def test_work_that_died_before_its_record_is_done_when_the_message_comes_again(control: Control) -> None:
    """As after a kill -9 between the claim and the record."""
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    content = push()
    fields = github_fields(secret, content)
    state = control.plane.services.state
    appends = state.append_always

    async def dies(*given: Any) -> None:
        raise RuntimeError("killed")

    state.append_always = dies
    assert (await post_hook(control.api, path, content, fields)).status == 500
    state.append_always = appends
    assert not await records_of(control, Purged)
    control.clock.now += 200
    assert (await post_hook(control.api, path, content, fields)).status == 200
    assert len(await records_of(control, Purged)) == 1


async def test_what_is_remembered_is_bounded_and_forgotten_in_its_time(control: Control) -> None:
    path, secret = await hook_of(control.api, {"scheme": "github", "action": PURGE_ALL})
    hook_id, deliveries = path.rpartition("/")[2], control.plane.services.hook_room.deliveries
    contents = [push() for _ in range(4)]
    for content in contents:
        control.clock.now += 10
        await post_hook(control.api, path, content, github_fields(secret, content))
    assert await deliveries.sweep(hook_id, before=0, most=3) == 1
    assert await deliveries.sweep(hook_id, before=control.clock.now - 5, most=10) == 2
    assert len(await deliveries.newest(hook_id, 10)) == 1
    kept = await post_hook(control.api, path, contents[3], github_fields(secret, contents[3]))
    assert kept.document["repeated"]
    left = [facts.key async for facts in control.store.scan("control/hooks/in/")]
    assert len(left) == 3, "a delivery, and its claims: its content, and what its sender calls it"
    await control.api.delete(f"/v1/sites/blog/hooks/{hook_id}")
    control.clock.now += 4000
    await control.plane.webhooks.round()
    await control.plane.webhooks.settled()
    assert not [facts.key async for facts in control.store.scan("control/hooks/in/")]
