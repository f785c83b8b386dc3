"""The main road: a bundle goes in, a website comes out, a purge is acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.running import CommandFailed, RunningCdn, write_bundle

PAGE = b"<!doctype html><title>home</title>"

FILES = {
    "/index.html": PAGE,
    "/about.html": b"<!doctype html><title>about</title>",
    "/docs/index.html": b"<!doctype html><title>docs</title>",
    "/docs/404.html": b"<!doctype html><title>no such page in docs</title>",
    "/404.html": b"<!doctype html><title>no such page</title>",
    "/assets/app.3f2a9c1b7d.js": b"console.log(1)",
    "/style.css": b"body{}",
    "/feed.xml": b"<feed/>",
}


def site(running: RunningCdn, tmp_path: Path, name: str, files: dict[str, bytes] | None = None) -> str:
    """A site with a first deploy; its host."""
    running.run("site", "create", name)
    done = running.run("deploy", str(write_bundle(tmp_path / name, files or FILES)), "--site", name)
    assert done["receipt"]["complete"]
    return f"{name}.cdn.localhost"


def test_a_bundle_becomes_a_website(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "web")
    home = running.visit(host)
    assert (home.status, home.content) == (200, PAGE)
    assert home.fields["content-type"] == "text/html; charset=utf-8"
    assert home.fields["cache-control"] == "public, max-age=0, must-revalidate"
    assert home.fields["etag"].startswith('"')
    assert "date" in home.fields
    assert "fwd=uri-miss" in home.cache_status
    again = running.visit(host)
    assert "hit" in again.cache_status
    assert "age" in again.fields
    script = running.visit(host, "/assets/app.3f2a9c1b7d.js")
    assert script.fields["cache-control"] == "public, max-age=31536000, immutable"


def test_clean_urls_folders_and_the_nearest_404(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "clean")
    assert b"about" in running.visit(host, "/about").content
    moved = running.visit(host, "/docs?x=1")
    assert (moved.status, moved.fields["location"]) == (308, "/docs/?x=1")
    assert b"<title>docs" in running.visit(host, "/docs/").content
    missing = running.visit(host, "/docs/nothing")
    assert missing.status == 404
    assert b"in docs" in missing.content
    assert b"no such page<" in running.visit(host, "/elsewhere").content


def test_an_unknown_host_says_so(running: RunningCdn) -> None:
    answer = running.visit("nobody.example")
    assert answer.status == 404
    assert b"no site for the host 'nobody.example'" in answer.content
    assert "unknown-host" in answer.cache_status


def test_head_and_get_say_the_same(running: RunningCdn, tmp_path: Path) -> None:
    """I13, for a miss, a hit, a missing page and a redirect."""
    host = site(running, tmp_path, "heads")
    for target in ("/", "/style.css", "/nothing", "/docs"):
        running.visit(host, target)
        got, head = running.visit(host, target), running.visit(host, target, method="HEAD")
        assert head.content == b""
        assert head.status == got.status
        volatile = {"date", "age"}
        assert {k: v for k, v in head.fields.items() if k not in volatile} == {
            k: v for k, v in got.fields.items() if k not in volatile
        }


def test_who_asks_is_told_deploy_and_position(running: RunningCdn, tmp_path: Path) -> None:
    """I13."""
    host = site(running, tmp_path, "told")
    answer = running.visit(host, CDN_Debug="1")
    assert answer.fields["cdn-deploy"] == running.run("deploys", "--site", "told")["deploys"][0]["id"]
    assert ":" in answer.fields["cdn-position"]
    assert "cdn-deploy" not in running.visit(host).fields


def test_conditional_requests_and_ranges(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "conditional")
    first = running.visit(host, "/style.css")
    tag = first.fields["etag"]
    not_modified = running.visit(host, "/style.css", If_None_Match=tag)
    assert (not_modified.status, not_modified.content) == (304, b"")
    assert not_modified.fields["etag"] == tag
    part = running.visit(host, "/style.css", Range="bytes=1-3")
    assert (part.status, part.content, part.fields["content-range"]) == (206, b"ody", "bytes 1-3/6")
    beyond = running.visit(host, "/style.css", Range="bytes=100-")
    assert (beyond.status, beyond.fields["content-range"]) == (416, "bytes */6")
    assert running.visit(host, "/style.css", If_Match='"other"').status == 412
    whole = running.visit(host, "/style.css", Range="bytes=1-3", If_Range='"other"')
    assert (whole.status, whole.content) == (200, b"body{}")


def test_a_redeploy_uploads_one_blob_and_cools_one_file(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "again")
    for target in ("/", "/about", "/style.css", "/docs/"):
        running.visit(host, target)
    (tmp_path / "again" / "index.html").write_bytes(b"<!doctype html><title>new</title>")
    done = running.run("deploy", str(tmp_path / "again"), "--site", "again")
    assert done["uploaded"]["blobs"] == 1
    assert done["receipt"]["complete"]
    for target in ("/about", "/style.css", "/docs/"):
        assert "hit" in running.visit(host, target).cache_status, target
    changed = running.visit(host)
    assert b"new" in changed.content
    assert "fwd=uri-miss" in changed.cache_status


def test_purges_of_every_scope(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "scopes")
    rules = [{"path": "/docs/*", "fields": [["cache-tag", "manual"]]}]
    assert running.call("PATCH", "/v1/sites/scopes", {"settings": {"header_rules": rules}}).status == 200
    targets = ("/", "/about", "/docs/", "/style.css")

    def warm() -> None:
        for target in targets:
            running.visit(host, target)

    def cold() -> set[str]:
        return {target for target in targets if "fwd=miss" in running.visit(host, target).cache_status}

    for words, expected in (
        (("--url", f"http://{host}/about"), {"/about"}),
        (("--url", "/about.html"), {"/about"}),
        (("--prefix", "/docs/"), {"/docs/"}),
        (("--tag", "manual"), {"/docs/"}),
        (("--all",), set(targets)),
    ):
        warm()
        receipt = running.run("purge", "--site", "scopes", *words)
        assert receipt["complete"]
        assert receipt["nodes"][0]["outcome"] == "applied"
        assert receipt["nodes"][0]["applied_at"] >= receipt["recorded_at"]
        assert cold() == expected, words


def test_a_soft_purge_serves_stale_while_it_validates(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "soft")
    running.visit(host)
    running.run("purge", "--site", "soft", "--all", "--soft")
    stale = running.visit(host)
    assert (stale.status, stale.content) == (200, PAGE)
    assert "detail=soft-purged" in stale.cache_status


def test_a_domain_answers_and_is_let_go(running: RunningCdn, tmp_path: Path) -> None:
    site(running, tmp_path, "owner")
    running.run("domain", "add", "www.owner.example", "--site", "owner", "--verified")
    assert running.visit("www.owner.example").status == 200
    assert "hit" in running.visit("WWW.Owner.Example:8080").cache_status
    running.run("domain", "rm", "www.owner.example", "--site", "owner")
    assert running.visit("www.owner.example").status == 404


def test_previews_and_rollback(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "life")
    first = running.run("deploys", "--site", "life")["deploys"][0]["id"]
    write_bundle(tmp_path / "life", {"/index.html": b"second"})
    running.run("deploy", str(tmp_path / "life"), "--site", "life", "--alias", "next")
    assert running.visit("next--life.cdn.localhost").content == b"second"
    assert running.visit(host).content == PAGE
    running.run("deploy", str(tmp_path / "life"), "--site", "life")
    assert running.visit(host).content == b"second"
    assert running.run("rollback", "--site", "life")["receipt"]["complete"]
    assert running.visit(host).content == PAGE
    assert running.visit(host, CDN_Debug="1").fields["cdn-deploy"] == first


def test_an_open_tab_keeps_its_chunks_and_nothing_else_stays(running: RunningCdn, tmp_path: Path) -> None:
    """I4, end to end."""
    secret = {"/.env": b"SECRET=1", "/old.html": b"old page"}
    host = site(running, tmp_path, "tabs", FILES | secret)
    bundle = tmp_path / "tabs"
    for gone in ("assets/app.3f2a9c1b7d.js", ".env", "old.html"):
        (bundle / gone).unlink()
    write_bundle(bundle, {"/assets/app.99aa88bb77.js": b"console.log(2)"})
    running.run("deploy", str(bundle), "--site", "tabs")
    assert running.visit(host, "/assets/app.3f2a9c1b7d.js").content == b"console.log(1)"
    assert running.visit(host, "/assets/app.99aa88bb77.js").content == b"console.log(2)"
    assert running.visit(host, "/.env").status == 404
    assert running.visit(host, "/old").status == 404
    assert running.visit(host, "/old.html").status == 404


def test_a_removed_site_is_gone(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "gone")
    running.run("domain", "add", "gone.example", "--site", "gone", "--verified")
    token = running.run("token", "create", "--scope", "deploy:gone")["token"]
    assert running.visit(host).status == 200
    running.run("site", "rm", "gone")
    assert running.visit(host).status == 404
    assert running.visit("gone.example").status == 404
    assert running.call("GET", "/v1/sites/gone/deploys", token=token).status == 401
    # The same name again is another site: it has nothing of the first.
    site(running, tmp_path / "second", "gone", {"/index.html": b"another"})
    assert running.visit(host).content == b"another"
    assert running.visit(host, "/style.css").status == 404


def test_explain_walks_the_road(running: RunningCdn, tmp_path: Path) -> None:
    host = site(running, tmp_path, "why")
    running.visit(host)
    said = running.run("explain", f"http://{host}/")
    node = said["nodes"][0]
    assert "serve what is stored" in str(node)
    assert "index.html" in str(node)


def test_a_command_that_cannot_work_says_why_in_a_sentence(running: RunningCdn) -> None:
    with pytest.raises(CommandFailed) as failed:
        running.run("purge", "--site", "no-such-site", "--all")
    assert failed.value.status == 1
    assert "no-such-site" in failed.value.errors
    assert "Traceback" not in failed.value.errors


def test_a_node_that_serves_is_not_forgotten(running: RunningCdn) -> None:
    with pytest.raises(CommandFailed) as failed:
        running.run("node", "rm", "local")
    assert "may still be serving" in failed.value.errors
    with pytest.raises(CommandFailed) as failed:
        running.run("node", "rm", "elsewhere")
    assert "elsewhere" in failed.value.errors


def test_an_archive_in_one_call(running: RunningCdn, tmp_path: Path) -> None:
    import io
    import tarfile

    running.run("site", "create", "archive")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in FILES.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    answer = running.call("POST", "/v1/sites/archive/deploys?wait=10", packed.getvalue())
    assert answer.status == 201, answer.content
    assert running.visit("archive.cdn.localhost").content == PAGE
