"""Any sequence of visitors, records and forgets: workers answer as one process does, and never what it would not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.edge.disk_tier import DiskTier
from cdn.edge.settings import EdgeSettings
from tests.edge.pull_stage import Stage
from tests.edge.worker_pull_stage import PullFleet, VersionedUpstream, pull_fleet, wire_answer

PATHS = ("/a", "/plain", "/grouped1", "/grouped2")
WORKERS = 2
PURGES = frozenset(("purge", "soft", "tag"))


class Get(NamedTuple):
    """A visitor of one worker."""

    path: str
    worker: int
    language: str | None
    coding: str | None

    def fields(self) -> dict[str, str]:
        said = {"accept_language": self.language, "accept_encoding": self.coding}
        return {name: value for name, value in said.items() if value is not None}


class Act(NamedTuple):
    """Anything else that happens."""

    kind: str
    path: str
    worker: int


Step = Get | Act

path = st.sampled_from(PATHS)
worker = st.integers(0, WORKERS - 1)
gets = st.builds(Get, path, worker, st.sampled_from((None, "de", "en")), st.sampled_from((None, "gzip", "br, gzip")))
acts = st.builds(Act, st.sampled_from(("post", "purge", "soft", "tag", "wait", "evict", "drop")), path, worker)
delays = st.builds(Act, st.sampled_from(("hold", "deliver")), path, worker)


@asynccontextmanager
async def stage_of(folder: Path) -> AsyncIterator[Stage]:
    folder.mkdir()
    tier = await DiskTier.open(folder, 1 << 30, reconciles=False)
    given_settings = EdgeSettings(
        node_id="n1", data_dir=folder, zone="cdn.localhost", control_url="http://127.0.0.1:1", token="none"
    )
    stage = Stage(tier, given_settings)
    stage.create_site()
    try:
        yield stage
    finally:
        await stage.aclose()
        await tier.aclose()


async def change(stage: Stage, act: Act) -> None:
    """What happens on a node whether or not it has workers. Of what changes with a purge, only the purge tells."""
    upstream = stage.pull.fetcher._upstreams
    assert isinstance(upstream, VersionedUpstream)
    if act.kind in PURGES:
        upstream.versions[act.path] += 1
    match act.kind:
        case "purge":
            stage.purge("url", act.path)
        case "soft":
            stage.purge("url", act.path, soft=True)
        case "tag":
            stage.purge("tag", f"t{act.path[1:]}")
        case "wait":
            stage.now += 25
        case "evict":
            stage.tier.clear()
        case _:
            raise AssertionError(act.kind)


async def get_alone(stage: Stage, get: Get) -> tuple[int, bytes]:
    """What a visitor of a node without workers gets."""
    prepared = stage.road.recall(stage.request(get.path, **get.fields()), stage.site(), stage.now)
    answer = wire_answer(prepared, stage.now) if prepared is not None else await stage.get(get.path, **get.fields())
    await stage.idle()
    return answer.status, answer.content


@given(st.lists(gets | gets | acts, max_size=30))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_workers_answer_as_one_process(steps: list[Step]) -> None:
    async def play(folder: Path) -> None:
        async with (
            stage_of(folder / "one") as one,
            stage_of(folder / "many") as many,
            pull_fleet(many, WORKERS) as fleet,
        ):
            one.pull.fetcher._upstreams = VersionedUpstream()
            for step in steps:
                match step:
                    case Get():
                        got = (await fleet.get(step.path, step.worker, **step.fields())).answer
                        assert (got.status, got.content) == await get_alone(one, step), step
                    case Act("post"):
                        assert (await fleet.post(step.path, step.worker)).status == 204
                        assert (await one.get(step.path, "POST")).status == 204
                    case Act("drop"):
                        fleet.workers[step.worker].tier.clear()
                    case _:
                        await change(one, step)
                        await change(many, step)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


@given(st.lists(gets | gets | acts | delays, max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_is_older_than_what_was_answered_or_acknowledged(steps: list[Step]) -> None:
    """However late a worker hears: whoever asks after an answer to a POST, or after an acknowledged purge, gets what
    the upstream had then, or newer."""

    async def play(folder: Path) -> None:
        async with stage_of(folder / "many") as stage, pull_fleet(stage, WORKERS) as fleet:
            checker = Checker(fleet)
            for step in steps:
                await checker.take(step)
            for number in range(WORKERS):
                fleet.deliver(number)
            await checker.settle()
            for at in PATHS:
                for number in range(WORKERS):
                    await checker.take(Get(at, number, "de", None))

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


class Checker:
    """Knows of each path the version that nobody may be given less than."""

    def __init__(self, fleet: PullFleet) -> None:
        self._fleet = fleet
        upstream = fleet.stage.pull.fetcher._upstreams
        assert isinstance(upstream, VersionedUpstream)
        self._upstream = upstream
        self._least = dict.fromkeys(PATHS, 0)
        self._posting: list[tuple[str, int, asyncio.Task[object]]] = []
        self._purged: list[tuple[str, int]] = []

    async def take(self, step: Step) -> None:
        fleet = self._fleet
        match step:
            case Get():
                least = self._least[step.path]
                got = await fleet.get(step.path, step.worker, **step.fields())
                if got.answer.fields.get("content-encoding") is None:
                    assert got.version >= least, step
            case Act("post"):
                task = asyncio.create_task(fleet.post(step.path, step.worker))
                self._posting.append((step.path, self._upstream.versions[step.path] + 1, task))
                async with asyncio.timeout(30):
                    while not task.done() and not any(fleet.told):
                        await asyncio.sleep(0.0005)
                await fleet.stage.idle()
            case Act("hold"):
                fleet.hold(step.worker)
            case Act("deliver"):
                fleet.deliver(step.worker)
            case Act("drop"):
                fleet.workers[step.worker].tier.clear()
            case _:
                await change(fleet.stage, step)
                if step.kind in PURGES:  # it is acknowledged when all workers have it
                    self._purged.append((step.path, self._upstream.versions[step.path]))
        await self._note()

    async def settle(self) -> None:
        async with asyncio.timeout(30):
            while self._posting:
                await asyncio.sleep(0.0005)
                await self._note()

    async def _note(self) -> None:
        """What is answered or acknowledged by now."""
        for _ in range(3):
            await asyncio.sleep(0)
        if not any(self._fleet.told):
            for at, version in self._purged:
                self._least[at] = max(self._least[at], version)
            self._purged.clear()
        for each in tuple(self._posting):
            at, version, task = each
            if task.done():
                await task
                self._posting.remove(each)
                self._least[at] = max(self._least[at], version)
