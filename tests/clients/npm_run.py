"""Other vendors' deploy clients, unmodified, against a running `cdn up`: `make clients` (no part of `make test`)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.npm_clients import Client, Run, netlify, wrangler
from tests.e2e.running import RunningCdn, write_bundle

FILES = {
    "/index.html": b"<h1>hello</h1>",
    "/404.html": b"<h1>absent</h1>",
    "/shell.html": b"<h1>shell</h1>",
    "/assets/app.css": b"body{color:red}",
    "/we ird/a b.txt": b"space",
    "/we ird/ü%20/é+[x].txt": b"letters",
    "/large.bin": bytes(range(256)) * 12_000,
    "/none.txt": b"",
    "/_redirects": b"/old /new 301\n/app/* /shell.html 200\n",
    "/_headers": b"/*\n  X-Test: yes\n/assets/*\n  Cache-Control: public, max-age=60\n",
}
HIDDEN = ("/_redirects", "/_headers", "/netlify.toml")


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    running = RunningCdn(tmp_path_factory.mktemp("up"))
    running.start()
    running.run("site", "create", "another")
    yield running
    running.kill()


@pytest.fixture
def site(cdn: RunningCdn, request: pytest.FixtureRequest) -> str:
    """A site of the test's own."""
    name: str = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    cdn.run("site", "create", name)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", FILES)


def token_for(cdn: RunningCdn, *scopes: str) -> str:
    words = [word for scope in scopes for word in ("--scope", scope)]
    made: dict[str, str] = cdn.run("token", "create", *words)
    return made["token"]


def netlify_of(cdn: RunningCdn, site: str, tmp_path: Path) -> Client:
    return netlify(cdn, tmp_path / "home", token_for(cdn, f"deploy:{site}"))


def wrangler_of(cdn: RunningCdn, site: str, tmp_path: Path) -> Client:
    return wrangler(cdn, tmp_path / "home", token_for(cdn, f"deploy:{site}"))


def deploy_by_netlify(client: Client, site: str, folder: Path, *words: str) -> Run:
    return client.run("deploy", "--no-build", "--dir", ".", "--site", site, *words, folder=folder)


def deploy_by_wrangler(client: Client, site: str, folder: Path, *words: str) -> Run:
    return client.run("pages", "deploy", ".", "--project-name", site, *words, folder=folder)


def assert_served(cdn: RunningCdn, host: str) -> None:
    """All of FILES, as they were deployed, under rules that count."""
    for path, content in FILES.items():
        answer = cdn.visit(host, quote(path))
        if path in HIDDEN:
            assert (answer.status, answer.content) == (404, FILES["/404.html"]), path
        else:
            assert (answer.status, answer.content) == (200, content), path
            assert answer.fields["x-test"] == "yes"
    assert "max-age=60" in cdn.visit(host, "/assets/app.css").fields["cache-control"]
    moved = cdn.visit(host, "/old")
    assert (moved.status, moved.fields["location"]) == (301, "/new")
    assert cdn.visit(host, "/app/deep/link").content == FILES["/shell.html"]


def host_of(site: str, alias: str = "") -> str:
    return f"{alias}--{site}.cdn.localhost" if alias else f"{site}.cdn.localhost"


def test_netlify_production(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    client = netlify_of(cdn, site, tmp_path)
    first = deploy_by_netlify(client, site, folder, "--prod", "--message", "The first")
    assert first.status == 0, first.text
    assert "Deploy is live!" in first.text
    assert f"Production URL: <http://{host_of(site)}" in first.text
    assert_served(cdn, host_of(site))
    (folder / "index.html").write_bytes(b"<h1>changed</h1>")
    second = deploy_by_netlify(client, site, folder, "--prod", "--json")
    assert second.status == 0, second.text
    assert json.loads(second.output[second.output.index("{") :])["site_name"] == site
    assert cdn.visit(host_of(site)).content == b"<h1>changed</h1>"
    deploys = cdn.run("deploys", "--site", site)["deploys"]
    assert [deploy["message"] for deploy in deploys] == ["", "The first"]


def test_netlify_sends_what_changed_alone(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    client = netlify_of(cdn, site, tmp_path)
    for path in (folder / "many" / f"{number}.txt" for number in range(120)):  # above 100 it diffs asynchronously
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    first = deploy_by_netlify(client, site, folder, "--prod")
    assert first.status == 0, first.text
    (folder / "many" / "7.txt").write_text("changed")
    second = deploy_by_netlify(client, site, folder, "--prod")
    assert "CDN requesting 1 files" in second.text
    assert cdn.visit(host_of(site), "/many/7.txt").content == b"changed"
    assert cdn.visit(host_of(site), "/many/8.txt").content == b"8.txt"


def test_netlify_drafts_and_previews(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    client = netlify_of(cdn, site, tmp_path)
    draft = deploy_by_netlify(client, site, folder)
    assert draft.status == 0, draft.text
    assert "Draft deploy is live!" in draft.text or "Deploy is live!" in draft.text
    host = draft.text.partition("Draft URL: <http://")[2].partition(">")[0].partition(":")[0]
    assert host.startswith("draft-")
    assert_served(cdn, host)
    preview = deploy_by_netlify(client, site, folder, "--alias", "feature-login")
    assert preview.status == 0, preview.text
    assert_served(cdn, host_of(site, "feature-login"))
    assert cdn.visit(host_of(site)).status == 404, "production has nothing yet"


def test_netlify_builds(cdn: RunningCdn, site: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    command = "mkdir -p out && echo built > out/index.html"
    (project / "netlify.toml").write_text(f'[build]\npublish = "out"\ncommand = "{command}"\n')
    done = netlify_of(cdn, site, tmp_path).run("deploy", "--site", site, "--prod", folder=project)
    assert done.status == 0, done.text
    assert cdn.visit(host_of(site)).content == b"built\n"


def test_netlify_rules_that_are_wrong(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    (folder / "_redirects").write_text("/a /b 999\n")
    refused = deploy_by_netlify(netlify_of(cdn, site, tmp_path), site, folder, "--prod")
    assert refused.status != 0
    assert "status 999" in refused.text
    assert cdn.visit(host_of(site)).status == 404


def test_netlify_tokens_that_may_not(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    for token in ("nonsense", token_for(cdn, "deploy:another")):
        refused = deploy_by_netlify(netlify(cdn, tmp_path / "home", token), site, folder, "--prod")
        assert refused.status != 0
        assert "nauthorized" in refused.text or "does not have the scope" in refused.text or "not found" in refused.text
    absent = deploy_by_netlify(netlify(cdn, tmp_path / "home", token_for(cdn, "admin")), "absent", folder, "--prod")
    assert absent.status != 0
    assert "not found" in absent.text


def test_wrangler_production(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    client = wrangler_of(cdn, site, tmp_path)
    first = deploy_by_wrangler(client, site, folder, "--branch", "main")
    assert first.status == 0, first.text
    assert f"Deployment complete! Take a peek over at http://{host_of(site)}" in first.text
    assert_served(cdn, host_of(site))
    (folder / "index.html").write_bytes(b"<h1>changed</h1>")
    second = deploy_by_wrangler(client, site, folder, "--branch", "main")
    assert "Uploaded 1 files (7 already uploaded)" in second.text
    assert cdn.visit(host_of(site)).content == b"<h1>changed</h1>"


def test_wrangler_previews_of_a_repository(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    git = [shutil.which("git") or "git", "-c", "user.name=A", "-c", "user.email=a@example.com"]
    for words in (["init", "-q", "-b", "Feature/Login"], ["add", "."], ["commit", "-q", "-m", "Say hello"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    done = deploy_by_wrangler(wrangler_of(cdn, site, tmp_path), site, folder)
    assert done.status == 0, done.text
    assert_served(cdn, host_of(site, "feature-login"))
    (deploy,) = cdn.run("deploys", "--site", site)["deploys"]
    assert deploy["message"] == "Say hello"
    commit = subprocess.run([*git, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    assert deploy["commit"] == commit.stdout.strip()


def test_wrangler_rules_that_are_wrong(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    (folder / "_redirects").write_text("/a /b 999\n/c x://y\n")
    refused = deploy_by_wrangler(wrangler_of(cdn, site, tmp_path), site, folder, "--branch", "main")
    assert refused.status != 0
    assert "_redirects:1" in refused.text
    assert "_redirects:2" in refused.text
    assert cdn.visit(host_of(site)).status == 404


def test_wrangler_workers(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    (folder / "_worker.js").write_text("export default { fetch() { return new Response('x') } }")
    refused = deploy_by_wrangler(wrangler_of(cdn, site, tmp_path), site, folder, "--branch", "main", "--no-bundle")
    assert refused.status != 0
    assert "does not run" in refused.text


def test_wrangler_tokens_that_may_not(cdn: RunningCdn, site: str, folder: Path, tmp_path: Path) -> None:
    refused = deploy_by_wrangler(wrangler(cdn, tmp_path / "home", "nonsense"), site, folder)
    assert refused.status != 0
    assert "unknown, revoked or expired" in refused.text
    other = deploy_by_wrangler(wrangler(cdn, tmp_path / "home", token_for(cdn, "deploy:another")), site, folder)
    assert other.status != 0
    assert f"does not have the scope read:{site}" in other.text
    absent = deploy_by_wrangler(wrangler(cdn, tmp_path / "home", token_for(cdn, "admin")), "absent", folder)
    assert absent.status != 0
    assert "There is no site 'absent'." in absent.text
