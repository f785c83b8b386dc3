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
    assert f"answers from deploy {first} again" in back.out
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
    assert "soft purge of site blog" in ended.out
    assert cdn.control is not None
    record = (await cdn.control.journal.read(cdn.control.plane.state.position.sequence - 1, limit=1))[0]
    scopes = {(scope.kind, scope.value) for scope in record.change.scopes}
    assert scopes == {("url", "/a"), ("url", "/b"), ("prefix", "/docs/"), ("tag", "news")}
    assert record.change.soft


async def test_domains(cdn: Cdn) -> None:
    await cdn("site", "create", "blog")
    added = await cdn("domain", "add", "WWW.Example.com", "--site", "blog")
    assert added.status == 0
    assert "www.example.com is answered from site blog" in added.out
    assert "www.example.com  blog" in (await cdn("domain", "list")).out
    assert (await cdn("domain", "list", "--site", "blog", "--json")).document == {
        "domains": [{"domain": "www.example.com", "site": "blog"}]
    }
    removed = await cdn("domain", "rm", "www.EXAMPLE.com.")
    assert removed.status == 0
    assert "there are no domains yet" in (await cdn("domain", "list")).out
    gone = await cdn("domain", "rm", "www.example.com")
    assert (gone.status, gone.err) == (1, "cdn: no site of yours has the domain www.example.com\n")


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
    assert "edge-1  connected" in ended.out
    assert (await cdn("status", "--json")).document["nodes"][0]["node"] == "edge-1"


async def test_explain_says_what_each_node_says(cdn: Cdn) -> None:
    await cdn("site", "create", "blog")
    ended = await cdn("explain", "http://blog.cdn.localhost:8080/a")
    assert ended.status == 0
    assert "site blog, alias production, deploy None" in ended.out
    unknown = await cdn("explain", "http://nobody.example/")
    assert "no site has the host nobody.example" in unknown.out


async def test_an_error_is_a_sentence_with_its_field(cdn: Cdn) -> None:
    ended = await cdn("site", "create", "Not_A_Name")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith('cdn: "Not_A_Name" cannot be a site name')
    assert "  field: name\n" in ended.err
    as_json = await cdn("site", "create", "Not_A_Name", "--json")
    assert as_json.status == 1
    assert as_json.document["error"]["field"] == "name"


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
