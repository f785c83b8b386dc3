"""`kill -9` of control at every step of a deploy, a rollback or what is said of an alias leaves nothing of it visible,
or all of it; and doing it again does it (DESIGN I4, I11)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Calls, OutcomeUnknown, packed
from tests.e2e.promises import ZONE
from tests.e2e.running import RunningCdn

HOST = f"blog.{ZONE}"

DEPLOY_STEPS = (
    "before:blob",
    "after:blob",
    "before:manifest",
    "after:manifest",
    "before:deploy.prepared",
    "after:deploy.prepared",
    "before:deploy.activated",
    "after:deploy.activated",
)
QUICK_DEPLOY_STEPS = ("after:manifest", "after:deploy.prepared", "after:deploy.activated")
MOVE_STEPS = ("before:deploy.activated", "after:deploy.activated")
ALIAS_STEPS = ("before:alias.set", "after:alias.set", "before:alias.removed", "after:alias.removed")


@dataclass
class Dying:
    """A `cdn up` that dies where it is told to, and starts again over the same folder."""

    running: RunningCdn

    @property
    def place_file(self) -> Path:
        return Path(self.running.environ["CDN_DIES_AT"])

    def calls(self) -> Calls:
        return Calls.of(self.running.control_url, self.running.folder)

    def dies_at(self, place: str, act: Callable[[Calls], Any]) -> None:
        """`act` until it kills the process at `place`; then it runs again."""
        self.place_file.write_text(place)
        with self.calls() as calls, pytest.raises(OutcomeUnknown):
            act(calls)
        process = self.running.process
        assert process is not None
        assert process.wait(30) == -signal.SIGKILL, place
        assert process.stdout is not None
        process.stdout.close()
        self.running.process = None
        self.place_file.unlink()
        self.running.start()

    def shown(self) -> int:
        """The number of the deploy that both pages and the rules of production are of."""
        seen = {self.running.visit(HOST, path).content for path in ("/", "/other.html")}
        assert len(seen) == 1, f"two deploys are mixed: {seen}"
        sent = self.running.visit(HOST, "/which")
        number = int(seen.pop())
        assert (sent.status, sent.fields.get("location")) == (302, f"/number-{number}")
        return number


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[Dying]:
    environ = {"CDN_DIES_AT": str(tmp_path / "place")}
    running = RunningCdn(tmp_path, environ=environ, program="tests.e2e.dying")
    running.start()
    try:
        yield Dying(running)
    finally:
        running.kill()


def bundle(number: int) -> dict[str, bytes]:
    content = str(number).encode()
    return {
        "/index.html": content,
        "/other.html": content,
        "/_redirects": f"/which /number-{number} 302\n".encode(),
    }


def deploys(calls: Calls) -> list[str]:
    return [str(each["id"]) for each in calls.call("GET", "/v1/sites/blog/deploys")["deploys"]]


def deploy(calls: Calls, number: int, alias: str = "production") -> str:
    answer = calls.call("POST", f"/v1/sites/blog/deploys?wait=10&alias={alias}", packed(bundle(number)))
    assert answer["receipt"]["complete"], answer
    return str(answer["deploy"]["id"])


def die_in_deploys(dying: Dying, steps: tuple[str, ...]) -> None:
    number = dying.shown()
    for place in steps:
        with dying.calls() as calls:
            before = deploys(calls)
        number += 1
        dying.dies_at(place, lambda calls, made=number: deploy(calls, made))  # type: ignore[misc]
        is_active = place == "after:deploy.activated"
        assert dying.shown() == (number if is_active else number - 1), place
        is_recorded = is_active or place in ("after:deploy.prepared", "before:deploy.activated")
        with dying.calls() as calls:
            assert len(deploys(calls)) == len(before) + is_recorded, place
            deploy(calls, number)
        assert dying.shown() == number, place


def die_in_moves(dying: Dying, steps: tuple[str, ...], *, path: str, there: int, here: int) -> None:
    """From `here` to `there` by a call that uploads nothing."""
    for place in steps:
        assert dying.shown() == here
        dying.dies_at(place, lambda calls: calls.call("POST", path, {"alias": "production"}))
        is_done = place.startswith("after")
        assert dying.shown() == (there if is_done else here), place
        with dying.calls() as calls:
            if not is_done:
                assert calls.call("POST", f"{path}?wait=10", {"alias": "production"})["receipt"]["complete"]
            assert dying.shown() == there
            back = "rollforward" if there < here else "rollback"
            calls.call("POST", f"/v1/sites/blog/{back}?wait=10", {})


def die_in_aliases(dying: Dying, steps: tuple[str, ...]) -> None:
    path = "/v1/sites/blog/aliases/next"
    for place in steps:
        with dying.calls() as calls:
            deploy(calls, 90, "next")
        if place.endswith("set"):
            dying.dies_at(place, lambda calls: calls.call("PUT", path, {"password": "open sesame"}))
            with dying.calls() as calls:
                assert calls.call("GET", path)["has_password"] is place.startswith("after")
                calls.call("DELETE", path)
        else:
            dying.dies_at(place, lambda calls: calls.call("DELETE", path))
            with dying.calls() as calls:
                aliases = [each["alias"] for each in calls.call("GET", "/v1/sites/blog/aliases")["aliases"]]
            assert ("next" in aliases) is place.startswith("before")
            status = dying.running.visit(f"next--{HOST}").status
            assert status == (200 if place.startswith("before") else 404)


def begin(dying: Dying) -> None:
    with dying.calls() as calls:
        calls.create_site("blog")
        for number in (1, 2):
            deploy(calls, number)


def test_no_step_of_a_deploy_or_rollback_leaves_half_of_it(dying: Dying) -> None:
    begin(dying)
    die_in_moves(dying, MOVE_STEPS, path="/v1/sites/blog/rollback", there=1, here=2)
    die_in_deploys(dying, QUICK_DEPLOY_STEPS)
    die_in_aliases(dying, ("after:alias.set", "after:alias.removed"))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_no_step_of_anything_leaves_half_of_it(dying: Dying) -> None:
    begin(dying)
    die_in_moves(dying, MOVE_STEPS, path="/v1/sites/blog/rollback", there=1, here=2)
    with dying.calls() as calls:
        calls.call("POST", "/v1/sites/blog/rollback?wait=10", {})
    die_in_moves(dying, MOVE_STEPS, path="/v1/sites/blog/rollforward", there=2, here=1)
    with dying.calls() as calls:
        calls.call("POST", "/v1/sites/blog/rollforward?wait=10", {})
        preview = deploy(calls, 30, "next")
    path = f"/v1/sites/blog/deploys/{preview}/activate"
    die_in_moves(dying, MOVE_STEPS, path=path, there=30, here=2)
    die_in_deploys(dying, DEPLOY_STEPS)
    die_in_aliases(dying, ALIAS_STEPS)
