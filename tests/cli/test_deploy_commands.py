"""`cdn deploy` with its new words, `deploys --diff`, `promote`, `rollback`, `rollforward`, `alias`."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
import typer

from cdn.cli.preview_options import password_of
from tests.cli.conftest import Cdn, Ended

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
async def blog(cdn: Cdn) -> Cdn:
    cdn.environ |= {"GITHUB_SHA": COMMIT, "GITHUB_ACTOR": "octo", "GIT_CEILING_DIRECTORIES": "/"}
    await cdn("site", "create", "blog")
    return cdn


async def deployed(cdn: Cdn, bundle: Path, text: str, *words: str) -> str:
    (bundle / "index.html").write_text(text)
    ended = await cdn("deploy", str(bundle), "--site", "blog", "--json", *words)
    assert ended.status == 0, ended
    return str(ended.document["deploy"]["id"])


async def test_a_deploy_says_what_it_was_built_from(blog: Cdn, bundle: Path) -> None:
    await deployed(blog, bundle, "one")
    await deployed(blog, bundle, "two", "--commit", "v1.2", "-m", "by hand")
    await deployed(blog, bundle, "three", "--commit", "")
    listed = (await blog("deploys", "--site", "blog", "--json")).document["deploys"]
    assert [each["commit"] for each in listed] == ["", "v1.2", COMMIT]
    assert [each["author"] for each in listed] == ["octo"] * 3
    assert listed[1]["message"] == "by hand"
    shown = (await blog("deploys", "--site", "blog")).out
    assert COMMIT[:12] in shown
    assert COMMIT not in shown


async def test_a_folder_in_git_says_it_itself(blog: Cdn, bundle: Path) -> None:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "Begin")):
        subprocess.run(["git", *words], cwd=bundle, check=True)
    blog.environ["GITHUB_SHA"] = ""
    ended = await blog("deploy", str(bundle), "--site", "blog", "--json")
    made = ended.document["deploy"]
    assert len(made["commit"]) == 40
    assert (made["message"], made["author"]) == ("Begin", "Ann")


async def test_a_branch_is_deployed_to_its_preview(blog: Cdn, bundle: Path) -> None:
    ended = await blog("deploy", str(bundle), "--site", "blog", "--branch", "feature/Login", "--expires", "7d")
    assert ended.status == 0
    assert "is active at http://feature-login--blog.cdn.localhost:8080/" in ended.out
    (listed,) = (await blog("alias", "list", "--site", "blog", "--json")).document["aliases"]
    assert listed["alias"] == "feature-login"
    assert listed["expires_at"] is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--branch", "x", "--alias", "y"), "not both"),
        (("--branch", " "), "the branch is empty"),
        (("--expires", "7d"), "only previews have it"),
        (("--password", "x"), "only previews have it"),
        (("--alias", "next", "--password", ""), "the password is empty"),
        (("--alias", "next", "--expires", "soon"), "is not a duration"),
        (("--alias", "production", "--expires", "1d"), "only previews have it"),
    ],
)
async def test_what_makes_no_sense_is_said_before_anything_is_sent(
    lonely_cdn: Cdn, bundle: Path, words: tuple[str, ...], said: str
) -> None:
    ended = await lonely_cdn("deploy", str(bundle), "--site", "blog", *words)
    assert ended.status == 2
    assert said in ended.err


async def test_a_password_in_the_environment_is_for_previews_alone(blog: Cdn, bundle: Path) -> None:
    blog.environ["CDN_PREVIEW_PASSWORD"] = "open sesame"
    await deployed(blog, bundle, "one")
    await deployed(blog, bundle, "two", "--alias", "next")
    listed = (await blog("alias", "list", "--site", "blog", "--json")).document["aliases"]
    assert {each["alias"]: each["has_password"] for each in listed} == {"production": False, "next": True}


async def test_differences_are_listed_with_sizes(blog: Cdn, bundle: Path) -> None:
    first = await deployed(blog, bundle, "one")
    (bundle / "new.txt").write_text("new")
    (bundle / "docs" / "index.html").unlink()
    second = await deployed(blog, bundle, "longer")
    shown = await blog("deploys", "--site", "blog", "--diff", second)
    assert shown.status == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["+", "/new.txt", "3", "B"] in lines
    assert ["~", "/index.html", "6", "B", "(+3", "B)"] in lines
    assert ["-", "/docs/index.html", "13", "B"] in lines
    assert "1 added (3 B), 1 changed (+3 B), 1 removed (13 B), 0 as before" in shown.out
    back = await blog("deploys", "--site", "blog", "--diff", first, "--against", second)
    assert "1 added (13 B), 1 changed (-3 B), 1 removed (3 B), 0 as before" in back.out
    last = await blog("deploys", "--site", "blog", "--diff", "last", "--json")
    assert (last.document["deploy"], last.document["against"]) == (second, first)
    assert "against nothing" in (await blog("deploys", "--site", "blog", "--diff", first)).out
    assert (await blog("deploys", "--site", "blog", "--against", first)).status == 2
    assert (await blog("deploys", "--site", "blog", "--diff", "none")).status == 1


async def active(cdn: Cdn, alias: str = "production") -> str:
    listed = (await cdn("alias", "list", "--site", "blog", "--json")).document["aliases"]
    return str(next(each["deploy"] for each in listed if each["alias"] == alias))


async def test_previews_are_promoted_and_rolled_back_and_forth(blog: Cdn, bundle: Path) -> None:
    first = await deployed(blog, bundle, "one")
    second = await deployed(blog, bundle, "two", "--alias", "next")
    promoted = await blog("promote", "next", "--site", "blog")
    assert promoted.status == 0
    assert f"http://blog.cdn.localhost:8080/ now answers from deploy {second}" in promoted.out
    assert "complete on 1 of 1 nodes" in promoted.out
    assert (await blog("rollback", "--site", "blog")).status == 0
    assert await active(blog) == first
    assert (await blog("rollforward", "--site", "blog")).status == 0
    assert await active(blog) == second
    assert (await blog("promote", first, "--site", "blog", "--to", "next")).status == 0
    assert await active(blog, "next") == first
    refused = await blog("promote", "nothing", "--site", "blog")
    assert (refused.status, "no deploy 'nothing', and no alias of that name" in refused.err) == (1, True)
    refused = await blog("rollforward", "--site", "blog", "--json")
    assert (refused.status, refused.document["error"]["kind"]) == (1, "Conflict")


async def test_aliases_are_set_locked_and_removed(blog: Cdn, bundle: Path) -> None:
    assert (await blog("deploys", "--site", "blog", "--diff", "last")).status == 1
    assert "has no aliases yet" in (await blog("alias", "list", "--site", "blog")).out
    said: Ended = await blog("alias", "set", "next", "--site", "blog", "--password", "open sesame", "--expires", "2d")
    assert said.status == 0
    assert "has no deploy yet" in said.out
    assert "asks for a password" in said.out
    assert "open sesame" not in said.out
    first = await deployed(blog, bundle, "one", "--alias", "next")
    locked = await blog("alias", "lock", "next", "--site", "blog", "-m", "a freeze")
    assert ": a freeze)" in locked.out
    refused = await blog("deploy", str(bundle), "--site", "blog", "--alias", "next")
    assert refused.status == 1
    assert "cdn alias unlock next --site blog" in refused.err
    assert (await blog("alias", "unlock", "next", "--site", "blog")).status == 0
    changed = await blog("alias", "set", "next", "--site", "blog", "--no-password", "--no-expires")
    assert "is open to everybody" in changed.out
    assert "never expires" in changed.out
    listed = (await blog("alias", "list", "--site", "blog")).out
    assert first in listed
    assert "http://next--blog.cdn.localhost:8080/" in listed
    assert (await blog("alias", "rm", "next", "--site", "blog")).status == 0
    assert (await blog("alias", "rm", "next", "--site", "blog")).status == 1
    assert (await blog("alias", "set", "next", "--site", "blog")).status == 2
    assert (await blog("alias", "set", "next", "--site", "blog", "--expires", "1d", "--no-expires")).status == 2


def test_a_password_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (("open sesame\r\nmore\n", "open sesame"), (" spaces count ", " spaces count ")):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        assert password_of("-") == expected
    for nothing in ("", "\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(nothing))
        with pytest.raises(typer.BadParameter, match="empty"):
            password_of("-")
    assert password_of(None) is None
