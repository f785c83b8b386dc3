"""Every command against the real control plane: what it prints, as lines and as JSON, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cdn
from tests.control.control_room import Clock


async def test_a_site_is_created_listed_changed_and_removed(cdn: Cdn) -> None:
    created = await cdn("site", "create", "blog", "--edge-ttl", "5m", "--header", "/a/* Cache-Tag: one, two")
    assert (created.status, created.err) == (0, "")
    assert "site blog is at http://blog.cdn.localhost:8080/" in created.out
    listed = await cdn("site", "list")
    assert "blog  http://blog.cdn.localhost:8080/" in listed.out
    changed = await cdn("site", "update", "blog", "--edge-ttl", "none", "--keep", "/img/*", "--json")
    settings = changed.document["settings"]
    assert (settings["edge_ttl_s"], settings["keep"]) == (None, ["/img/*"])
    assert settings["header_rules"] == [{"path": "/a/*", "fields": [["cache-tag", "one, two"]]}]
    removed = await cdn("site", "rm", "blog")
    assert removed.status == 0
    assert "site blog is removed" in removed.out
    assert (await cdn("site", "list", "--json")).document == {"sites": []}
    assert "there are no sites yet" in (await cdn("site", "list")).out


async def test_a_site_with_an_upstream(cdn: Cdn, bundle: Path) -> None:
    created = await cdn(
        *("site", "create", "shop", "--origin", "https://Upstream.example/app/", "--query", "allow: page, q"),
        *(
            "--edge-ttl",
            "5m",
            "--edge-ttl-overrides",
            "--negative-ttl",
            "0s",
            "--pass",
            "1m",
            "--no-compresses",
            "--no-stores-set-cookie",
        ),
        *(
            "--upstream-host",
            "visitor",
            "--connect-timeout",
            "1.5s",
            "--upstream-retries",
            "0",
            "--no-stores-set-cookie",
        ),
    )
    assert (created.status, created.err) == (0, "")
    assert "it is answered from https://upstream.example/app; when that changes: cdn purge --site shop" in created.out
    shown = (await cdn("site", "show", "shop")).out
    for line in (
        "origin   https://upstream.example/app",
        "  edge-ttl                 5m",
        "  edge-ttl-overrides       yes",
        "  stale-while-revalidate   as the response says",
        "  query                    allow:page,q",
        "  negative-ttl             0s",
        "  pass                     1m",
        "  upstream-host            visitor",
        "  connect-timeout          1.5s",
        "  upstream-retries         0",
        "  compresses               no",
        "  obeys-client-directives  yes",
    ):
        assert f"{line}\n" in shown
    assert "retention" not in shown
    assert "deploy" not in shown
    assert "https://upstream.example/app" in (await cdn("site", "list")).out
    changed = await cdn(
        *("site", "update", "shop", "--origin", "s3://bucket/a", "--upstream-host", "origin", "--query", "sort"),
        *("--edge-ttl", "none", "--no-edge-ttl-overrides", "--stale-while-revalidate", "none", "--read-timeout", "1m"),
        *("--compresses", "--no-obeys-client-directives", "--json"),
    )
    settings = changed.document["settings"]
    assert settings["origin"] == "s3://bucket/a"
    assert (settings["upstream_host"], settings["edge_ttl_s"], settings["stale_while_revalidate_s"]) == (None,) * 3
    assert (settings["query"], settings["read_timeout_s"], settings["compresses"]) == ("sort", 60.0, True)
    assert settings["obeys_client_directives"] is False
    back = await cdn("site", "update", "shop", "--edge-ttl", "none", "--upstream-host", "origin")
    assert "  edge-ttl                 as the response says\n  upstream-host            origin\n" in back.out
    refused = await cdn("deploy", str(bundle), "--site", "shop")
    assert refused.status == 1
    assert "answered from s3://bucket/a, so nothing is deployed to it" in refused.err
    moved = await cdn("site", "update", "shop", "--origin", "bundle")
    assert moved.status == 1
    assert "Create another site and move the domains to it" in moved.err
    explained = await cdn("explain", "http://shop.cdn.localhost:8080/a")
    assert "site shop, alias production, answered from s3://bucket/a" in explained.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--origin", "ftp://host"), "is no origin: give bundle, https://HOST"),
        (("--origin", "https://user:geheim@host"), "names a user or a password"),
        (("--origin", "s3://Bucket"), "is no bucket"),
        (("--origin", "s3://bucket", "--upstream-host", "www.example.com"), "goes to an http or https origin only"),
        (("--origin", "https://h", "--edge-ttl-overrides"), "nothing to override with"),
        (("--origin", "https://h", "--upstream-retries", "9"), "whole number from 0 to 5"),
        (("--origin", "https://h", "--connect-timeout", "5m"), "up to 60"),
        (("--query", "sort"), "query: it does nothing on a site of bundles"),
        (("--origin", "https://h", "--keep", "/a"), "keep: it does nothing on a site that is answered from https://h"),
    ],
)
async def test_an_upstream_that_cannot_be_is_refused_in_words(cdn: Cdn, words: tuple[str, ...], said: str) -> None:
    ended = await cdn("site", "create", "shop", *words)
    assert ended.status == 1
    assert said in ended.err
    assert "geheim" not in ended.err


async def test_deploy_prints_the_receipt_and_ends_with_0(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    ended = await cdn("deploy", str(bundle), "--site", "blog", "-m", "first")
    assert ended.status == 0
    assert "2 files, 27 B; uploaded 2 blobs" in ended.out
    assert "is active at http://blog.cdn.localhost:8080/" in ended.out
    assert "edge-1  applied" in ended.out
    assert "complete on 1 of 1 nodes" in ended.out
    assert "scanning" in ended.err
    listed = await cdn("deploys", "--site", "blog")
    assert "production" in listed.out
    assert "first" in listed.out


async def test_deploy_as_json_is_one_document_and_silent(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    first = await cdn("deploy", str(bundle), "--site", "blog", "--json")
    assert (first.status, first.err) == (0, "")
    assert first.document["uploaded"] == {"blobs": 2, "size_bytes": 27}
    assert first.document["receipt"]["complete"] is True
    assert "activate_s" in first.document["seconds"]
    (bundle / "index.html").write_text("<h1>Hello!</h1>")
    second = await cdn("deploy", str(bundle), "--site", "blog", "--json")
    assert second.document["uploaded"]["blobs"] == 1


async def test_rollback_goes_back(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    first = (await cdn("deploy", str(bundle), "--site", "blog", "--json")).document["deploy"]["id"]
    (bundle / "new.html").write_text("new")
    second = (await cdn("deploy", str(bundle), "--site", "blog", "--json")).document["deploy"]["id"]
    back = await cdn("rollback", "--site", "blog")
    assert back.status == 0
    assert f"now answers from deploy {first}\n" in back.out
    forth = await cdn("rollback", "--site", "blog", "--to", second, "--json")
    assert forth.document["deploy"]["id"] == second


async def test_a_receipt_that_is_not_complete_in_time_ends_with_3(cdn: Cdn, bundle: Path) -> None:
    assert cdn.control is not None
    await cdn("site", "create", "blog")
    await cdn.control.node("edge-2")  # connected, and never applies anything
    ended = await cdn("purge", "--site", "blog", "--all", "--wait", "0")
    assert ended.status == 3
    assert "NOT complete: 1 of 2 nodes have not applied it yet" in ended.out
    assert "edge-2  pending" in ended.out
    as_json = await cdn("purge", "--site", "blog", "--all", "--wait", "0s", "--json")
    assert (as_json.status, as_json.document["complete"]) == (3, False)


async def test_purge_names_what_it_purges(cdn: Cdn) -> None:
    await cdn("site", "create", "blog")
    ended = await cdn(
        *("purge", "--site", "blog", "--url", "http://blog.cdn.localhost:8080/a", "--url", "/b"),
        *("--prefix", "/docs/", "--tag", "news", "--soft"),
    )
    assert ended.status == 0
    assert "soft purge of site blog: URL http://blog.cdn.localhost:8080/a, /b; prefix /docs/; tag news\n" in ended.out
    assert cdn.control is not None
    record = (await cdn.control.journal.read(cdn.control.plane.state.position.sequence - 1, limit=1))[0]
    scopes = {(scope.kind, scope.value) for scope in record.change.scopes}
    assert scopes == {("url", "/a"), ("url", "/b"), ("prefix", "/docs/"), ("tag", "news")}
    assert record.change.soft


async def test_a_purge_of_a_url_says_how_to_purge_it_with_every_query(cdn: Cdn) -> None:
    hint = "without a query only; with every query, and whatever begins so: --prefix /v\n"
    await cdn("site", "create", "shop", "--origin", "https://upstream.example")
    urls = ("purge", "--site", "shop", "--url", "/a?b=1", "--url")
    assert hint in (await cdn(*urls, "/v")).out
    assert "--prefix" not in (await cdn(*urls, "/v?b=2")).out
    assert "--prefix" not in (await cdn("purge", "--site", "shop", "--tag", "news")).out
    only_purge = (await cdn("token", "create", "--scope", "purge:shop", "--json")).document["token"]
    assert hint in (await Cdn(cdn.control, {**cdn.environ, "CDN_TOKEN": only_purge})(*urls, "/v")).out
    await cdn("site", "update", "shop", "--query", "drop")
    assert "--prefix" not in (await cdn(*urls, "/v")).out
    await cdn("site", "create", "blog")
    assert "--prefix" not in (await cdn("purge", "--site", "blog", "--url", "/v")).out


async def test_a_change_that_purges_says_so(cdn: Cdn) -> None:
    await cdn("site", "create", "shop", "--origin", "https://upstream.example")
    changed = await cdn("site", "update", "shop", "--origin", "s3://bucket")
    assert cdn.control is not None
    sequence = cdn.control.plane.state.position.sequence
    assert f"purged, recorded as {sequence}: cdn receipt {sequence} --wait 1m\n" in changed.out
    assert (await cdn("receipt", str(sequence))).status == 0
    assert "purged" not in (await cdn("site", "update", "shop", "--edge-ttl", "5m")).out


async def test_allowed_parameters_add_up_and_none_is_no_time(cdn: Cdn) -> None:
    words = ("--query", "allow:page", "--query", "allow:q, r", "--stale-if-error", "none")
    made = await cdn("site", "create", "shop", "--origin", "https://h.example", *words, "--json")
    settings = made.document["settings"]
    assert (settings["query"], settings["stale_if_error_s"]) == ({"allow": ["page", "q", "r"]}, 0)


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (("bogus",), "write keep, sort, drop or allow:NAME,NAME"),
        (("allow",), "names no parameter"),
        (("allow:",), "names no parameter: write allow:NAME,NAME, or drop"),
        (("allow: , ",), "names no parameter"),
        (("allow:page", "allow:"), "names no parameter"),
        (("allow:page", "drop"), "--query drop goes alone"),
        (("keep", "keep"), "--query keep goes alone"),
    ],
)
async def test_a_query_policy_that_is_none_is_refused(cdn: Cdn, policies: tuple[str, ...], said: str) -> None:
    words = [word for policy in policies for word in ("--query", policy)]
    for command in (("create", "shop", "--origin", "https://h.example"), ("update", "shop")):
        ended = await cdn("site", *command, *words)
        assert ended.status == 2
        assert said in " ".join(ended.err.replace("│", " ").split())
    assert (await cdn("site", "show", "shop")).status == 1


async def test_tokens(cdn: Cdn, bundle: Path) -> None:
    assert cdn.control is not None
    await cdn("site", "create", "blog")
    made = await cdn(
        "token", "create", "--scope", "deploy:blog,read:blog", "--expires", "90d", "--note", "ci", "--json"
    )
    assert made.document["scopes"] == ["deploy:blog", "read:blog"]
    assert made.document["expires_at"] == Clock().now + 90 * 86400
    text = await cdn("token", "create", "--scope", "read:blog")
    assert text.out.startswith("cdn_")
    assert "expires never" in text.out
    listed = await cdn("token", "list")
    assert made.document["id"] in listed.out
    assert made.document["token"] not in listed.out
    deployer = Cdn(cdn.control, {**cdn.environ, "CDN_TOKEN": made.document["token"]})
    assert (await deployer("deploy", str(bundle), "--site", "blog")).status == 0
    assert (await deployer("purge", "--site", "blog", "--all")).status == 1
    assert (await cdn("token", "revoke", made.document["id"])).status == 0
    refused = await deployer("deploys", "--site", "blog")
    assert refused.status == 1
    assert refused.err.startswith("cdn: ")


async def test_status_shows_nodes_and_their_lag(cdn: Cdn) -> None:
    ended = await cdn("status")
    assert ended.status == 0
    assert "0 sites" in ended.out
    assert ["edge-1", "-", "serving"] in [line.split()[:3] for line in ended.out.splitlines()]
    assert (await cdn("status", "--json")).document["nodes"][0]["node"] == "edge-1"


async def test_explain_says_what_each_node_says(cdn: Cdn) -> None:
    await cdn("site", "create", "blog")
    ended = await cdn("explain", "http://blog.cdn.localhost:8080/a")
    assert ended.status == 0
    assert "site blog, alias production, nothing deployed yet: cdn deploy FOLDER --site blog" in ended.out
    unknown = await cdn("explain", "http://nobody.example/")
    assert (unknown.status, (await cdn("explain", "http://nobody.example/", "--json")).status) == (1, 1)
    assert "no site has the host nobody.example" in unknown.out


async def test_an_error_is_a_sentence_with_its_field(cdn: Cdn) -> None:
    ended = await cdn("site", "create", "Not_A_Name")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith('cdn: "Not_A_Name" cannot be a site name')
    assert "field" not in ended.err
    as_json = await cdn("site", "create", "Not_A_Name", "--json")
    assert as_json.status == 1
    assert as_json.document["error"]["field"] == "name"


async def test_a_refusal_names_the_way_out(cdn: Cdn, bundle: Path, tmp_path: Path) -> None:
    await cdn("site", "create", "blog")
    for words, hint in (
        (("deploys", "--site", "nope"), "see them: cdn site list"),
        (("deploy", str(bundle), "--site", "nope"), "see them: cdn site list"),
        (("rollback", "--site", "blog"), "see what there is: cdn deploys --site blog"),
        (("rollback", "--site", "blog", "--to", "nope"), "see what there is: cdn deploys --site blog"),
        (("token", "revoke", "nope"), "see them: cdn token list"),
        (("explain", "http://blog.cdn.localhost/", "--node", "nope"), "see them: cdn status"),
        (("domain", "rm", "www.example.com"), "see them: cdn domain list"),
    ):
        ended = await cdn(*words)
        assert ended.status == 1
        assert ended.err.endswith(f"\n  {hint}\n"), words
    nowhere = await cdn("deploy", str(tmp_path / "nofolder"), "--site", "blog")
    assert nowhere.err == f"cdn: there is no file or folder {tmp_path / 'nofolder'}\n"


async def test_a_control_that_is_away_is_asked_for(lonely_cdn: Cdn, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    away = Cdn(None, {**lonely_cdn.environ, "CDN_CONTROL_URL": url, "CDN_TOKEN": "t"})
    ended = await away("status")
    assert ended.status == 1
    assert f"is `cdn up` running? CDN_CONTROL_URL is {url}" in ended.err
    assert "CDN_CONTROL_URL is" in (await away("status", "--json")).document["error"]["hint"]


async def test_a_bad_token_is_said_with_where_it_comes_from(cdn: Cdn) -> None:
    ended = await Cdn(cdn.control, {**cdn.environ, "CDN_TOKEN": "cdn_x_y"})("status")
    assert ended.err.endswith("\n  the token is from CDN_TOKEN\n")


async def test_a_site_is_shown_and_lists_are_added_to_and_emptied(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog", "--header", "/a/* Cache-Tag: one, two", "--keep", "/img/*", "--edge-ttl", "5m")
    shown = (await cdn("site", "show", "blog")).out
    assert "none yet: cdn deploy FOLDER --site blog" in shown
    assert "  header                   /a/* cache-tag: one, two\n" in shown
    assert "  edge-ttl                 5m\n" in shown
    assert "  retention                7d\n" in shown
    assert "None" not in shown
    added = await cdn("site", "update", "blog", "--add-header", "/b X-Robots-Tag: none", "--edge-ttl", "none")
    assert "  header                   /a/* cache-tag: one, two\n" in added.out
    assert "  header                   /b x-robots-tag: none\n" in added.out
    assert "  edge-ttl                 until it is purged\n" in added.out
    pinned = await cdn("site", "update", "blog", "--region", "eu", "--region", "us")
    assert [line.split() for line in pinned.out.splitlines()[1:3]] == [["region", "eu"], ["region", "us"]]
    assert "everything stored of it is purged, recorded as " in pinned.out
    cautious = await cdn("site", "update", "blog", "--on-detach", "validate")
    assert [line.split() for line in cautious.out.splitlines()[1:]] == [["on-detach", "validate"]]
    free = await cdn("site", "update", "blog", "--no-regions")
    assert [line.split() for line in free.out.splitlines()[1:]] == [["region", "all"]]
    emptied = await cdn("site", "update", "blog", "--no-headers", "--no-keep")
    assert "  header                   none\n" in emptied.out
    assert "  keep                     none\n" in emptied.out
    settings = (await cdn("site", "show", "blog", "--json")).document["settings"]
    assert (settings["header_rules"], settings["keep"]) == ([], [])


async def test_a_preview_is_promoted_even_where_nothing_is_active(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    preview = (await cdn("deploy", str(bundle), "--site", "blog", "--alias", "next", "--json")).document
    promoted = await cdn("rollback", "--site", "blog", "--to", preview["deploy"]["id"])
    assert promoted.status == 0
    assert f"http://blog.cdn.localhost:8080/ now answers from deploy {preview['deploy']['id']}\n" in promoted.out


async def test_a_receipt_can_be_asked_for_later(cdn: Cdn) -> None:
    await cdn("site", "create", "blog")
    sequence = (await cdn("purge", "--site", "blog", "--all", "--json")).document["position"]["sequence"]
    ended = await cdn("receipt", str(sequence), "--wait", "1s")
    assert ended.status == 0
    assert "edge-1  applied" in ended.out
    assert f"recorded as {sequence}; complete on 1 of 1 nodes" in ended.out
    assert (await cdn("receipt", "99999")).status == 1


async def test_a_terminal_is_asked_before_a_site_goes(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    await cdn("site", "create", "blog")
    await cdn("site", "create", "shop")
    monkeypatch.setattr("cdn.cli.site._is_terminal", lambda: True)
    kept = await cdn("site", "rm", "blog")  # nobody answers
    assert kept.status == 1
    assert "Remove site blog with its deploys, domains and tokens for good?" in kept.out
    assert (await cdn("site", "show", "blog")).status == 0
    assert (await cdn("site", "rm", "blog", "--yes")).status == 0
    assert (await cdn("site", "rm", "shop", "--json")).status == 0


async def test_hidden_files_are_said_before_the_upload(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    (bundle / ".env").write_text("secret")
    (bundle / ".DS_Store").write_text("x")
    ended = await cdn("deploy", str(bundle), "--site", "blog")
    assert "warning: hidden files become public: /.env\nleft out: .DS_Store\nuploading 3 files" in ended.err
    as_json = (await cdn("deploy", str(bundle), "--site", "blog", "--json")).document
    assert as_json["warnings"] == ["hidden files become public: /.env"]
    assert as_json["left_out"] == [".DS_Store"]


async def test_details_of_settings_are_listed(cdn: Cdn) -> None:
    ended = await cdn("site", "create", "blog", "--keep", "nope", "--header", "/x Age: 5")
    assert ended.status == 1
    assert "keep[0]" in ended.err
    assert "header_rules[0]" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("site",),
        ("nonsense",),
        ("deploy",),
        ("deploy", ".", "--site"),
        ("deploy", "", "--site", "blog"),
        ("deploy", ".", "--site", ""),
        ("deploy", ".", "--site", "blog", "--alias", "Not_A_Name"),
        ("deploy", ".", "--site", "blog", "--alias", "a" * 58),
        ("rollback", "--site", "blog", "--alias", ""),
        ("purge", "--site", "blog", "--all", "--tag", "news"),
        ("explain", "/about"),
        ("receipt", "soon"),
        ("site", "show", ""),
        ("site", "update", "blog", "--keep", "/a", "--no-keep"),
        ("site", "update", "blog", "--region", "eu", "--no-regions"),
        ("site", "update", "blog", "--add-header", "/a B: c", "--no-headers"),
        ("site", "create", "blog", "--edge-ttl", "366d"),
        ("purge", "--site", "blog"),
        ("purge", "--site", "blog", "--all", "--wait", "soon"),
        ("site", "update", "blog"),
        ("site", "create", "blog", "--edge-ttl", "5 apples"),
        ("site", "create", "blog", "--header", "nothing"),
        ("token", "create"),
        ("token", "create", "--scope", ","),
        ("token", "create", "--scope", "read:blog", "--expires", "-5m"),
        ("status", "--verbose"),
    ],
)
async def test_wrong_usage_ends_with_2(lonely_cdn: Cdn, words: tuple[str, ...]) -> None:
    ended = await lonely_cdn(*words)
    assert ended.status == 2
    assert "Traceback" not in ended.err


async def test_wrong_usage_is_a_document_with_json(lonely_cdn: Cdn) -> None:
    ended = await lonely_cdn("deploy", "", "--site", "blog", "--json")
    assert ended.status == 2
    error = ended.document["error"]
    assert error["kind"] == "Usage"
    assert error["hint"].endswith(" deploy --help")
    assert "the folder is empty text" in error["message"]
    unknown = await lonely_cdn("sites", "--json")
    assert unknown.document["error"]["message"] == "No such command 'sites'. Did you mean 'site'?"


async def test_help_shows_flags_without_a_type_and_names_the_environment(lonely_cdn: Cdn) -> None:
    for words in ((), ("deploy",), ("site", "rm"), ("up",)):
        shown = (await lonely_cdn(*words, "--help")).out
        assert "--help" in shown
        assert "<bool>" not in shown, words
    root = (await lonely_cdn("--help")).out
    assert "CDN_CONTROL_URL" in root
    assert "DURATION" in root
    create = (await lonely_cdn("site", "create", "--help")).out
    assert "--origin" in create
    assert "With an upstream" in create


async def test_without_a_control_plane_it_says_how_to_get_one(lonely_cdn: Cdn) -> None:
    ended = await lonely_cdn("status")
    assert ended.status == 1
    assert (
        ended.err == "cdn: no control plane is known: start one with `cdn up`, or set CDN_CONTROL_URL and CDN_TOKEN\n"
    )


async def test_text_from_elsewhere_cannot_drive_the_terminal(cdn: Cdn, bundle: Path) -> None:
    await cdn("site", "create", "blog")
    message = "\x1b]0;owned\x07\x1b[2Jhello\u202egnp.exe"
    assert (await cdn("deploy", str(bundle), "--site", "blog", "-m", message)).status == 0
    listed = await cdn("deploys", "--site", "blog")
    assert r"\x1b]0;owned\x07\x1b[2Jhello\u202egnp.exe" in listed.out
    assert not set(listed.out) & {"\x1b", "\x07", "\u202e"}
    assert (await cdn("deploys", "--site", "blog", "--json")).document["deploys"][0]["message"] == message
