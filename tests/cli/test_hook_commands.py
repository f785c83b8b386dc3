"""`cdn hook`: what it says to somebody who sets one up at a vendor, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cdn
from tests.control.hook_senders import github_fields, post_hook, push


@pytest.fixture
async def site(cdn: Cdn) -> Cdn:
    assert (await cdn("site", "create", "blog")).status == 0
    return cdn


async def made(cdn: Cdn, *words: str) -> Any:
    ended = await cdn("hook", "create", "--site", "blog", *words, "--json")
    assert ended.status == 0, ended.err
    return ended.document


async def test_a_hook_is_made_with_all_that_its_vendor_asks_for(site: Cdn) -> None:
    ended = await site("hook", "create", "--site", "blog", "--from", "github", "--branch", "main", "--purge-all")
    assert ended.status == 0
    assert f"url     {site.environ['CDN_CONTROL_URL']}/v1/hooks/" in ended.out
    assert "the secret is shown this once; Settings > Webhooks" in ended.out
    secret = ended.out.split("secret  ")[1].split("\n")[0]
    listed = await site("hook", "list", "--site", "blog")
    assert "from github  branch main  purge everything" in listed.out
    assert secret not in listed.out


async def test_what_came_and_what_was_refused_is_shown(site: Cdn) -> None:
    hook = await made(site, "--from", "github", "--purge-tag", "repo-{/repository}", "--note", "docs")
    control = site.control
    assert control is not None
    path, secret, content = hook["hook"]["path"], hook["secret"], push(repository="site")
    assert (await post_hook(control.api, path, content, github_fields(secret, content))).status == 200
    assert (await post_hook(control.api, path, content, github_fields("wrong" * 5, content))).status == 401
    shown = await site("hook", "deliveries", "--site", "blog")
    assert shown.status == 0
    assert "push   done   1      1 scope is purged" in shown.out
    assert "wrong-signature" in shown.out
    delivery_id = shown.out.splitlines()[1].split()[0]
    one = await site("hook", "deliveries", hook["hook"]["id"], "--site", "blog", "--show", delivery_id)
    assert "1 scope is purged" in one.out
    again = await site("hook", "deliveries", "--site", "blog", "--replay", delivery_id)
    assert again.status == 1
    assert "let its sender send it again" in again.err


async def test_a_hook_that_sends_is_made_rotated_and_removed(site: Cdn) -> None:
    hook = await made(site, "--to", "https://example.com/in", "--event", "deploy.live")
    assert hook["hook"]["outbound"] == {"url": "https://example.com/in", "events": ["deploy.live"]}
    rotated = await site("hook", "rotate", "--site", "blog", "--keep", "0s", "--json")
    assert rotated.document["secret"] != hook["secret"]
    listed = await site("hook", "list", "--site", "blog")
    assert "to    deploy.live  https://example.com/in" in listed.out
    assert (await site("hook", "rm", "--site", "blog")).status == 0
    assert "has no hooks" in (await site("hook", "list", "--site", "blog")).out


async def test_a_secret_of_the_senders_is_read_from_a_file(site: Cdn, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_made_by_stripe\n")
    hook = await made(site, "--from", "stripe", "--purge-all", "--secret-file", str(file))
    assert hook["secret"] == "whsec_made_by_stripe"


async def test_where_a_site_has_several_hooks_one_has_to_be_named(site: Cdn) -> None:
    first = await made(site, "--from", "token", "--purge-all", "--field", "X-Hook")
    await made(site, "--to", "https://example.com/in")
    ended = await site("hook", "deliveries", "--site", "blog")
    assert ended.status == 1
    assert first["hook"]["id"] in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one of --from"),
        (("--from", "github"), "say what to do"),
        (("--from", "github", "--purge-all", "--resync"), "say what to do"),
        (("--from", "github", "--to", "https://example.com"), "give one of --from"),
        (("--from", "github", "--purge-all", "--on", "x"), "--on belongs"),
        (("--from", "github", "--activate-commit", "{/after}", "--soft"), "--soft belongs"),
        (("--to", "https://example.com", "--purge-all"), "there is only --event"),
        (("--to", "https://example.com", "--event", "deploy.dead"), "deploy.live, purge.done, certificate.trouble are"),
        (("--from", "github", "--purge-all", "--when", "x"), "/POINTER=VALUE"),
        (("--from", "github", "--purge-all", "--secret-file", "/nowhere"), "cannot be read"),
    ],
)
async def test_what_cannot_be_meant_is_wrong_usage(site: Cdn, words: tuple[str, ...], said: str) -> None:
    ended = await site("hook", "create", "--site", "blog", *words)
    assert ended.status == 2
    assert said in " ".join(ended.err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "github", "--purge-url", "/{/x"), "a brace that opens or closes nothing"),
        (("--from", "github", "--purge-tag", "{x}"), "no JSON pointer"),
        (("--from", "github", "--resync"), "not answered from a bucket"),
        (("--to", "https://user:pass@example.com/"), "leave them out"),
        (("--to", "ftp://example.com/"), "an http or https URL"),
        (("--from", "github", "--purge-all", "--field", "X-Y"), "of the scheme token"),
        (("--from", "stripe", "--purge-all", "--tolerance", "2d"), "tolerance_s is between"),
    ],
)
async def test_what_cannot_work_is_refused_with_a_sentence(site: Cdn, words: tuple[str, ...], said: str) -> None:
    ended = await site("hook", "create", "--site", "blog", *words)
    assert ended.status == 1
    assert said in ended.err
    assert "pass@" not in ended.err
    assert json.loads((await site("hook", "list", "--site", "blog", "--json")).out) == {"hooks": []}
