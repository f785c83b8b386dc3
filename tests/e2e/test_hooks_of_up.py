"""Hooks of a `cdn up` that is killed: nothing is done twice, nobody is told too little or in the wrong order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cdn.purge.hook_signature import standard_signature
from tests.control.hook_senders import github_fields, push
from tests.e2e.running import Answer, RunningCdn, exchange, write_bundle
from tests.servers.ports import free_ports

HOST = "blog.cdn.localhost"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Listener:
    """A receiver of messages that can go away and come back at the same address."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.came: list[tuple[dict[str, str], bytes]] = []
        self._more = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in"

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._more:
                    outer.came.append(({name.lower(): value for name, value in self.headers.items()}, content))
                    outer._more.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait(self, count: int) -> list[Any]:
        """The documents, once so many messages came."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.came) >= count, 40), f"{len(self.came)} of {count} came"
            return [json.loads(content) for _, content in self.came]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.stop()


def sent(cdn: RunningCdn, path: str, secret: str, content: bytes) -> Answer:
    return exchange(cdn.control_url, "POST", f"{path}?wait=10", github_fields(secret, content), content)


def test_a_push_makes_the_preview_of_its_commit_live_and_receivers_hear_of_it_over_kills(
    start_cdn: Callable[..., RunningCdn], tmp_path: Path, listener: Listener
) -> None:
    cdn = start_cdn("--allow-private-upstreams")
    cdn.run("site", "create", "blog")
    old = write_bundle(tmp_path / "old", {"/index.html": b"old"})
    new = write_bundle(tmp_path / "new", {"/index.html": b"new"})
    inbound = cdn.run(
        "hook", "create", "--site", "blog", "--from", "github", "--branch", "main", "--activate-commit", "{/after}"
    )
    outbound = cdn.run("hook", "create", "--site", "blog", "--to", listener.url)
    path, secret = inbound["hook"]["path"], inbound["secret"]
    cdn.run("deploy", str(old), "--site", "blog")
    cdn.run("deploy", str(new), "--site", "blog", "--alias", "next", "--commit", COMMIT)
    assert cdn.visit(HOST).content == b"old"

    content = push(after=COMMIT)
    answer = sent(cdn, path, secret, content)
    assert answer.status == 200, answer.content
    first = json.loads(answer.content)
    assert first["receipt"]["complete"]
    assert cdn.visit(HOST).content == b"new"

    cdn.kill()  # nobody was told yet: the receiver is down
    cdn.start()
    again = json.loads(sent(cdn, path, secret, content).content)
    assert (again["repeated"], again["delivery"]) == (True, first["delivery"])
    assert again["receipt"]["position"] == first["receipt"]["position"]
    purged = cdn.run("purge", "--site", "blog", "--all")
    cdn.kill()
    listener.start()
    cdn.start()

    told = listener.wait(4)
    kinds = [(each["type"], each["data"].get("alias")) for each in told[:4]]
    assert kinds == [
        ("deploy.live", "production"),
        ("deploy.live", "next"),
        ("deploy.live", "production"),
        ("purge.done", None),
    ]
    assert told[2]["data"]["deploy"]["commit"] == COMMIT
    assert told[3]["data"]["sequence"] == purged["position"]["sequence"]
    for fields, body in listener.came:
        signature = standard_signature(outbound["secret"], fields["webhook-id"], int(fields["webhook-timestamp"]), body)
        assert fields["webhook-signature"] == signature
    wrong = sent(cdn, path, "not the secret of it", push(after=COMMIT))
    assert wrong.status == 401
    listed = cdn.run("hook", "deliveries", inbound["hook"]["id"], "--site", "blog")
    assert [each["state"] for each in listed["deliveries"]] == ["done"]
    assert listed["refused"][0]["reason"] == "wrong-signature"
