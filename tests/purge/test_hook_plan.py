"""From a vendor's message to what is done about it."""

from __future__ import annotations

import json
import time
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.purge.hook import Direction, InboundHook, OutboundEvent, OutboundHook, Scheme, hook_from, hook_to
from cdn.purge.hook_event import HookEvent, event_of, is_covered, message_of, reason_to_ignore
from cdn.purge.hook_plan import ActivatePlan, NothingToDo, Plan, PurgePlan, plan_of
from cdn.purge.hook_template import TemplateFault
from cdn.purge.request import PurgeRequest
from cdn.sites.origin import BucketOrigin
from cdn.sites.query_policy import DropQuery, KeepQuery

ALL = {"do": "purge", "everything": True}


def inbound(scheme: str = "github", **more: Any) -> InboundHook:
    made = hook_from(Direction.IN, {"scheme": scheme, "action": ALL, **more})
    assert isinstance(made, InboundHook)
    return made


def event(scheme: str, message: Any, fields: dict[str, str] | None = None, **more: Any) -> HookEvent:
    return event_of(inbound(scheme, **more), fields or {}, message)


@pytest.mark.parametrize(
    ("scheme", "fields", "message", "names", "branches"),
    [
        ("github", {"x-github-event": "push"}, {"ref": "refs/heads/main"}, ("push",), ("main",)),
        ("github", {"x-github-event": "push"}, {"ref": "refs/tags/v1"}, ("push",), ()),
        (
            "github",
            {"x-github-event": "workflow_run"},
            {"workflow_run": {"head_branch": "feature/x"}},
            ("workflow_run",),
            ("feature/x",),
        ),
        (
            "gitlab",
            {"x-gitlab-event": "Push Hook"},
            {"object_kind": "push", "event_name": "push", "ref": "refs/heads/main"},
            ("push", "Push Hook"),
            ("main",),
        ),
        (
            "gitlab",
            {"x-gitlab-event": "Pipeline Hook"},
            {"object_kind": "pipeline", "object_attributes": {"ref": "main", "status": "success"}},
            ("pipeline", "Pipeline Hook"),
            ("main",),
        ),
        (
            "bitbucket",
            {"x-event-key": "repo:push"},
            {"push": {"changes": [{"new": {"type": "branch", "name": "main"}}, {"new": None}]}},
            ("repo:push",),
            ("main",),
        ),
        ("stripe", {}, {"id": "evt_1", "type": "price.updated"}, ("price.updated",), ()),
        ("standard", {}, {"type": "post.published"}, ("post.published",), ()),
        ("token", {}, {"Records": [{"eventName": "ObjectCreated:Put"}]}, ("ObjectCreated:Put",), ()),
        ("token", {}, [], (), ()),
    ],
)
def test_vendors_name_events_and_branches_in_their_own_places(
    scheme: str, fields: dict[str, str], message: Any, names: tuple[str, ...], branches: tuple[str, ...]
) -> None:
    found = event(scheme, message, fields)
    assert (found.names, found.branches) == (names, branches)


def test_a_hook_may_say_where_they_are() -> None:
    message = {"what": {"happened": "built"}, "where": "refs/heads/main", "ref": "refs/heads/other"}
    found = event("token", message, event_pointer="/what/happened", branch_pointer="/where")
    assert (found.names, found.branches) == (("built",), ("main",))


def test_events_branches_and_conditions_are_all_needed() -> None:
    hook = inbound(events=["push"], branches=["main", "release/*"], only_if={"/forced": "false"})

    def ignored(branch: str, *, name: str = "push", **more: Any) -> bool:
        message = {"ref": f"refs/heads/{branch}", "forced": False, **more}
        return reason_to_ignore(hook, event_of(hook, {"x-github-event": name}, message)) is not None

    assert not ignored("main")
    assert not ignored("release/1/x")
    assert ignored("releases")
    assert ignored("main", name="create")
    assert ignored("main", forced=True)
    assert ignored("main", deleted=True)
    assert ignored("main", ref="refs/tags/main")
    assert reason_to_ignore(inbound(), HookEvent(("ping",), (), {})) is not None
    assert reason_to_ignore(inbound(), HookEvent((), (), {})) is None
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336"
    asks = HookEvent((), (), {"Type": "SubscriptionConfirmation", "SubscribeURL": url})
    assert reason_to_ignore(inbound("token"), asks) == f"it asks to be confirmed: open {url}"
    lies = HookEvent((), (), {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.evil.example/"})
    assert reason_to_ignore(inbound("token"), lies) is None


@given(pattern=st.text(alphabet="ab*/", max_size=12), branch=st.text(alphabet="ab/", max_size=12))
def test_patterns_of_branches_are_those_of_a_plain_matcher(pattern: str, branch: str) -> None:
    assert is_covered(pattern, branch) == fnmatchcase(branch, pattern)


def test_no_pattern_of_a_branch_takes_long() -> None:
    began = time.perf_counter()
    assert not is_covered("*a" * 40 + "b", "a" * 250)
    assert time.perf_counter() - began < 0.5


def test_messages_come_as_json_as_a_form_or_through_sns() -> None:
    assert message_of(b'{"a": 1}', "application/json; charset=utf-8") == {"a": 1}
    assert message_of(b"", "") == {}
    assert message_of(b"payload=%7B%22a%22%3A1%7D", "application/x-www-form-urlencoded") == {"a": 1}
    notification = {"Type": "Notification", "Message": json.dumps({"Records": []})}
    assert message_of(json.dumps(notification).encode(), "text/plain") == {"Records": []}
    plain = {"Type": "Notification", "Message": "hello"}
    assert message_of(json.dumps(plain).encode(), "text/plain") == plain
    for content in (b"{", b"\xff", b"nope", b'{"a": 1} x'):
        with pytest.raises(InvalidInput):
            message_of(content, "application/json")
    with pytest.raises(InvalidInput):
        message_of(b"[" * 100_000, "application/json")


def planned(action: dict[str, Any], message: Any, bucket: BucketOrigin | None = None, *, drops: bool = False) -> Plan:
    hook = inbound(action=action)
    query = DropQuery() if drops else KeepQuery()
    return plan_of(hook, HookEvent(("push",), (), message), bucket, query)


def test_purges_name_what_the_message_names() -> None:
    action = {"do": "purge", "urls": ["/posts/{/slug}/"], "tags": ["post-{/id}"], "soft": True}
    assert planned(action, {"slug": "été", "id": 7}) == PurgePlan(
        PurgeRequest(urls=("/posts/%C3%A9t%C3%A9/",), tags=("post-7",), soft=True)
    )
    with pytest.raises(TemplateFault, match="nothing at /slug"):
        planned(action, {"id": 7})
    assert planned(ALL, {}) == PurgePlan(PurgeRequest(everything=True))


def test_a_message_that_names_too_much_purges_everything() -> None:
    action = {"do": "purge", "urls": ["/{/files/*}"], "prefixes": ["/x{/files/*}"]}
    files = [str(number) for number in range(501)]
    assert planned(action, {"files": files}) == PurgePlan(PurgeRequest(everything=True), is_widened=True)
    assert isinstance(planned(action, {"files": []}), NothingToDo)


def test_a_huge_message_costs_little_and_purges_everything() -> None:
    message = {"c": [{"m": ["x"] * 1000}] * 50, "ref": "refs/heads/main"}
    action = {"do": "purge", "urls": ["/{/c/*/m/*}"] * 100}
    assert planned(action, message) == PurgePlan(PurgeRequest(everything=True), is_widened=True)
    found = event("token", message, branch_pointer="/c/*/m/*")
    assert found.branches == ("x",)
    hook = inbound("token", only_if={"/c/*/m/*": "y"})
    assert "it has not 'y'" in (reason_to_ignore(hook, found) or "")


def test_activations_name_one_deploy() -> None:
    assert planned({"do": "activate", "commit": "{/after}"}, {"after": "abc1234"}) == ActivatePlan(
        on="production", commit="abc1234"
    )
    assert planned({"do": "activate", "alias": "next", "on": "{/env}"}, {"env": "stage"}) == ActivatePlan(
        on="stage", alias="next"
    )


BUCKET = BucketOrigin("media", "site")


def s3(*keys: str, bucket: str = "media") -> dict[str, Any]:
    return {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for key in keys]}


RESYNC = {"do": "resync"}


def test_buckets_say_what_changed_in_amazons_form() -> None:
    assert planned(RESYNC, s3("site/a+b%2Bc.png"), BUCKET, drops=True) == PurgePlan(
        PurgeRequest(urls=("/a%20b%2Bc.png",))
    )
    bridge = {"detail": {"bucket": {"name": "media"}, "object": {"key": "site/a+b.png"}}}
    assert planned(RESYNC, bridge, BUCKET, drops=True) == PurgePlan(PurgeRequest(urls=("/a%2Bb.png",)))
    assert planned(RESYNC, s3("site/docs/index.html"), BUCKET, drops=True) == PurgePlan(
        PurgeRequest(urls=("/docs/index.html", "/docs/", "/docs"))
    )


def test_where_queries_count_a_changed_object_is_purged_with_all_of_them() -> None:
    assert planned(RESYNC, s3("site/a.png"), BUCKET) == PurgePlan(PurgeRequest(prefixes=("/a.png",)))
    assert planned(RESYNC, s3("site/index.html"), BUCKET) == PurgePlan(PurgeRequest(everything=True))


def test_objects_of_others_are_nothing_to_this_site() -> None:
    assert isinstance(planned(RESYNC, s3("site/a", bucket="other"), BUCKET), NothingToDo)
    assert isinstance(planned(RESYNC, s3("sites/a"), BUCKET), NothingToDo)
    assert isinstance(planned(RESYNC, s3("site/../secret"), BUCKET), NothingToDo)


def test_what_cannot_be_told_apart_purges_everything() -> None:
    everything = PurgePlan(PurgeRequest(everything=True))
    assert planned(RESYNC, {}, BUCKET) == everything
    assert planned(RESYNC, s3("site/404.html"), BUCKET, drops=True) == everything
    many = [f"site/{number}" for number in range(1001)]
    assert planned(RESYNC, s3(*many), BUCKET, drops=True) == everything
    assert planned(RESYNC, {"Records": [1, {}, {"s3": 1}]}, BUCKET) == everything


def test_settings_are_read_back_as_they_were_written() -> None:
    whole = {
        "scheme": "token",
        "action": {"do": "activate", "deploy": "{/id}", "on": "next"},
        "note": "x",
        "events": ["a"],
        "branches": ["b*"],
        "only_if": {"/a": ""},
        "event_pointer": "/t",
        "branch_pointer": "/b",
        "field": "X-Hook",
        "in_query": True,
        "tolerance_s": 10,
    }
    assert json.loads(json.dumps(hook_to(hook_from(Direction.IN, whole)))) == whole
    out = {"url": "https://example.com:8443/a?b=c", "events": ["purge.done"], "note": "x"}
    made = hook_from(Direction.OUT, out)
    assert json.loads(json.dumps(hook_to(made))) == out
    assert isinstance(made, OutboundHook)
    assert (made.target, str(made.endpoint)) == ("/a?b=c", "https://example.com:8443")
    assert (made.wants(OutboundEvent.PURGE_DONE), made.wants(OutboundEvent.DEPLOY_LIVE)) == (True, False)
    assert Scheme.TOKEN.value == "token"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"action": {"do": "purge"}}, "names nothing"),
        ({"action": {"do": "activate"}}, "one of deploy, commit and alias"),
        ({"action": {"do": "activate", "deploy": "x", "alias": "y"}}, "one of deploy, commit and alias"),
        ({"action": {"do": "activate", "deploy": "x", "on": "No"}}, "cannot be an alias"),
        ({"action": {"do": "purge", "tags": ["x"] * 101}}, "at most 100"),
        ({"action": {"do": "dance"}}, "not as described"),
        ({"action": ALL, "events": [""]}, "1 to 256 letters"),
        ({"action": ALL, "events": ["x"] * 51}, "at most 50"),
        ({"action": ALL, "only_if": {"x": "y"}}, "no JSON pointer"),
        ({"action": ALL, "event_pointer": "x"}, "no JSON pointer"),
        ({"action": ALL, "branch_pointer": "x"}, "no JSON pointer"),
        ({"action": ALL, "in_query": True}, "of the scheme token"),
        ({"action": ALL, "scheme": "token", "field": "X Y"}, "no field name"),
        ({"action": ALL, "tolerance_s": 5}, "tolerance_s"),
        ({"action": ALL, "note": "é" * 129}, "note"),
        ({"action": ALL, "more": 1}, "not as described"),
    ],
)
def test_what_cannot_work_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        hook_from(Direction.IN, {"scheme": "github", **settings})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "https://",
        "https:///x",
        "https://user@example.com/",
        "https://example.com/a b",
        "https://example.com/#x",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "http://127.1/",
        "https://example.com/" + "x" * 2048,
        "https://example.com/\r\nX: y",
        "https://é.example/",
    ],
)
def test_what_is_no_url_to_send_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        hook_from(Direction.OUT, {"url": url})
