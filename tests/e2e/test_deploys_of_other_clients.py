"""Deploys by Netlify's and Pages' calls while `cdn up` is killed between any two of them (DESIGN I11)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cdn.control.pages_digest import extension_of, pages_digest
from tests.control.deploy_clients import asset, form_of, sha1_of
from tests.e2e.running import RunningCdn, exchange

FILES = {"index.html": b"<h1>hello</h1>", "large.bin": bytes(range(256)) * 5000}
PAGES = "/client/v4/pages/assets"
PROJECT = "/client/v4/accounts/any/pages/projects/paged"
READY_TIMEOUT_S = 60.0


def test_deploys_go_on_after_a_kill_between_any_two_calls(tmp_path: Path) -> None:
    cdn = RunningCdn(tmp_path)
    cdn.start()
    try:
        for site in ("netted", "paged"):
            cdn.run("site", "create", site)
        draft = called(cdn, "POST", "/api/v1/sites/netted/deploys", {"draft": False})["id"]
        token = called(cdn, "GET", f"{PROJECT}/upload-token")["result"]["jwt"]
        again(cdn)
        digests = {path: sha1_of(content) for path, content in FILES.items()}
        required = called(cdn, "PUT", f"/api/v1/sites/netted/deploys/{draft}", {"files": digests})["required"]
        assert sorted(required) == sorted(digests.values())
        batch = json.dumps([asset(path, content) for path, content in FILES.items()]).encode()
        assert cdn.call("POST", f"{PAGES}/upload", json.loads(batch), token=token).status == 200
        called(cdn, "PUT", f"/api/v1/deploys/{draft}/files/large.bin", FILES["large.bin"])
        again(cdn)
        shown = called(cdn, "GET", f"/api/v1/sites/netted/deploys/{draft}")
        assert shown["required"] == [digests["index.html"]]
        manifest = {f"/{path}": pages_digest(content, extension_of(path)) for path, content in FILES.items()}
        missing = cdn.call("POST", f"{PAGES}/check-missing", {"hashes": list(manifest.values())}, token=token)
        assert json.loads(missing.content)["result"] == []
        called(cdn, "PUT", f"/api/v1/deploys/{draft}/files/index.html", FILES["index.html"])
        again(cdn)  # in the middle of publishing
        await_ready(cdn, draft)
        posted = post_form(cdn, f"{PROJECT}/deployments", {"manifest": json.dumps(manifest)})
        assert posted["result"]["latest_stage"]["status"] == "success"
        again(cdn)
        for site in ("netted", "paged"):
            assert len(cdn.run("deploys", "--site", site)["deploys"]) == 1
            for path, content in FILES.items():
                assert cdn.visit(f"{site}.cdn.localhost", f"/{path}").content == content
    finally:
        cdn.kill()


def again(cdn: RunningCdn) -> None:
    cdn.kill()
    cdn.start()


def called(cdn: RunningCdn, method: str, path: str, content: Any = None) -> Any:
    answer = cdn.call(method, path, content)
    assert answer.status == 200, answer
    return json.loads(answer.content)


def await_ready(cdn: RunningCdn, draft: str) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while (shown := called(cdn, "GET", f"/api/v1/sites/netted/deploys/{draft}"))["state"] != "ready":
        assert shown["state"] == "uploaded", shown
        assert time.monotonic() < end
        time.sleep(0.02)  # between two questions, as the client does


def post_form(cdn: RunningCdn, path: str, fields: dict[str, str]) -> Any:
    content, kind = form_of(fields)
    token = (cdn.folder / "data" / "admin-token").read_text().strip()
    answer = exchange(
        cdn.control_url, "POST", path, {"Authorization": f"Bearer {token}", "Content-Type": kind}, content
    )
    assert answer.status == 200, answer
    return json.loads(answer.content)
