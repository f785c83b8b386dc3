"""Every workload at once against a real `cdn up`, while deploys and purges go on: no wrong octet, memory stays flat."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import ssl
import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.calls import packed
from tests.e2e.mixed_visitors import Answered, Asked, Visiting, Way, some_range
from tests.e2e.running import RunningCdn
from tests.e2e.secure_visits import trusting, visit_once_there
from tests.e2e.versioned_content import Truth, content_of, version_in
from tests.e2e.versioned_upstream import VersionedUpstream

HOSTS = {"blog": "blog.cdn.localhost", "shop": "shop.cdn.localhost"}
SIZES = {
    "blog": {"/small.txt": 900, "/app.js": 30_000, "/style.css": 120_000, "/big.bin": 2_500_000},
    "shop": {"/item": 1200, "/list": 24_000, "/photo": 300_000, "/film": 1_500_000},
}
WEIGHTS = (12, 6, 2, 1)
"""How often each of a site's paths is asked for."""

MEMORY = "16MiB"
"""Of prepared responses: what the short form asks for does not fit."""

DISK = "64MiB"
"""Of stored responses, whose index is in memory: full after 20 deploys, and then as much leaves as comes."""

LIMITS = "[edge.http]\nmax_memo_entries = 2000\n"
"""Ranges and validators of versions that are gone stay in the memo of heads until it is full: with what it holds by
default the soak would end before, 0.2 MiB higher after each change."""

KIB, MIB = 1024, 1 << 20


@dataclass(slots=True)
class Play:
    """`requests` in all; a deploy or purge after every `between` of them."""

    cdn: RunningCdn
    requests: int
    between: int
    truth: Truth = field(default_factory=lambda: Truth(SIZES))
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    done: int = 0
    changes: int = 0
    memory: list[int] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        upstream = VersionedUpstream(self.truth, "shop")
        try:
            await self._set_up(await upstream.start())
            visitors = [self._visit(way) for way in self._ways() for _ in range(2)]
            async with asyncio.TaskGroup() as tasks:
                operator = tasks.create_task(self._operate())
                running = [tasks.create_task(visitor) for visitor in visitors]
                await asyncio.wait(running)
                async with self._moved:
                    self._moved.notify_all()
            await operator
        finally:
            await upstream.aclose()

    # The operator

    async def _set_up(self, upstream_url: str) -> None:
        await self._call("/v1/sites", {"name": "blog"})
        await self._call("/v1/sites", {"name": "shop", "settings": {"origin": upstream_url}})
        for site, host in HOSTS.items():
            await self._change(site)
            url, trust = self.cdn.https_url, trusting(self.cdn.root_file)
            await asyncio.to_thread(visit_once_there, url, host, trust, next(iter(SIZES[site])))

    async def _operate(self) -> None:
        sites = itertools.cycle(HOSTS)
        while True:
            async with self._moved:
                await self._moved.wait_for(self._is_time)
            if self.done >= self.requests:
                return
            await self._change(next(sites))
            self.changes += 1
            self.memory.append(memory_bytes(self.cdn))

    def _is_time(self) -> bool:
        return self.done >= min((self.changes + 1) * self.between, self.requests)

    async def _change(self, site: str) -> None:
        """Make the next version, and promise it once the receipt is complete."""
        self.truth.made[site] += 1
        version = self.truth.made[site]
        if site == "blog":
            files = packed({path: content_of(path, version, size) for path, size in SIZES[site].items()})
            answer = await self._call("/v1/sites/blog/deploys?wait=60", files)
            assert answer["receipt"]["complete"], answer
        else:
            wanted = {"everything": True} if version % 2 else {"urls": list(SIZES[site])}
            answer = await self._call("/v1/sites/shop/purges?wait=60", wanted)
            assert answer["complete"], answer
        self.truth.promised[site] = version

    async def _call(self, path: str, content: object) -> dict[str, dict[str, bool]]:
        answer = await asyncio.to_thread(self.cdn.call, "POST", path, content)
        assert answer.status < 400, answer
        document: dict[str, dict[str, bool]] = json.loads(answer.content)
        return document

    # Visitors

    def _ways(self) -> list[Way]:
        plain, secure = (urlsplit(url).port or 0 for url in (self.cdn.http_url, self.cdn.https_url))
        trust = {protocol: trusted(self.cdn.root_file, protocol) for protocol in ("http/1.1", "h2")}
        return [
            Way(plain, is_http2=False),
            Way(secure, is_http2=False, context=trust["http/1.1"]),
            Way(plain, is_http2=True),
            Way(secure, is_http2=True, context=trust["h2"]),
            Way(plain, is_http2=False, is_slow=True),
            Way(secure, is_http2=True, context=trust["h2"], is_slow=True),
        ]

    async def _visit(self, way: Way) -> None:
        while self.done < self.requests:
            site = self.draw.choice(list(HOSTS))
            visiting = await way.connect(HOSTS[site])
            try:
                for _ in range(self.draw.randrange(1, 40)):
                    if self.done >= self.requests:
                        break
                    await self._look(visiting, site)
                else:
                    if self.draw.random() < 0.3:
                        with suppress(ConnectionError):
                            await visiting.leave(Asked(HOSTS[site], list(SIZES[site])[-1]))
            finally:
                visiting.close()

    async def _look(self, visiting: Visiting, site: str) -> None:
        """Several requests of one kind, and what is to be said of their answers."""
        promised = self.truth.promised[site]
        kind = self.draw.choices(("get", "head", "range", "condition", "upload"), (60, 8, 14, 12, 6))[0]
        count = self.draw.choice((1, 1, 2, 6))
        paths = self.draw.choices(list(SIZES[site]), WEIGHTS, k=count)
        match kind:
            case "head":
                answers = await visiting.ask([Asked(HOSTS[site], path, "HEAD") for path in paths])
                for path, answer in zip(paths, answers, strict=True):
                    assert (answer.status, answer.content) == (200, b""), answer
                    assert answer.fields["content-length"] == str(SIZES[site][path])
            case "range":
                answers = await self._look_at_parts(visiting, site, paths, promised)
            case "condition":
                answers = await self._look_again(visiting, site, paths[0], promised)
            case "upload" if site == "shop":
                sent = [self.draw.randbytes(self.draw.choice((10, 5_000, 150_000))) for _ in range(min(count, 2))]
                answers = await visiting.ask([Asked(HOSTS[site], "/echo", "POST", content=each) for each in sent])
                assert [answer.content for answer in answers] == sent
            case _:
                answers = await visiting.ask([Asked(HOSTS[site], path) for path in paths])
                for path, answer in zip(paths, answers, strict=True):
                    self._judge(site, path, answer, promised)
        await self._count(site, answers)

    async def _look_at_parts(self, visiting: Visiting, site: str, paths: list[str], promised: int) -> list[Answered]:
        parts = [some_range(self.draw, SIZES[site][path]) for path in paths]
        requests = [
            Asked(HOSTS[site], path, fields={"range": f"bytes={first}-{last}"})
            for path, (first, last) in zip(paths, parts, strict=True)
        ]
        answers = await visiting.ask(requests)
        for path, (first, last), answer in zip(paths, parts, answers, strict=True):
            if answer.status == 200:  # fetched at this moment, from an upstream that knows no ranges
                self._judge(site, path, answer, promised)
                continue
            assert answer.status == 206, answer
            assert answer.fields["content-range"] == f"bytes {first}-{last}/{SIZES[site][path]}"
            assert len(answer.content) == last - first + 1
            self.truth.judge(site, path, answer.content, promised, first)
        return answers

    async def _look_again(self, visiting: Visiting, site: str, path: str, promised: int) -> list[Answered]:
        """With the validator of what it was told before."""
        (first,) = await visiting.ask([Asked(HOSTS[site], path)])
        self._judge(site, path, first, promised)
        promised = self.truth.promised[site]
        (second,) = await visiting.ask([Asked(HOSTS[site], path, fields={"if-none-match": first.fields["etag"]})])
        if second.status == 304:
            assert version_in(first.content) >= promised, "what was said to be valid still is not"
            assert second.content == b""
        else:
            self._judge(site, path, second, promised)
        return [first, second]

    def _judge(self, site: str, path: str, answer: Answered, promised: int) -> None:
        assert answer.status == 200, answer
        assert len(answer.content) == SIZES[site][path]
        self.truth.judge(site, path, answer.content, promised)

    async def _count(self, site: str, answers: list[Answered]) -> None:
        self.truth.answers[site] += len(answers)
        self.done += len(answers)
        for answer in answers:
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        async with self._moved:
            self._moved.notify_all()


def trusted(root_file: Path, protocol: str) -> ssl.SSLContext:
    context = trusting(root_file)
    context.set_alpn_protocols([protocol])
    return context


def memory_bytes(cdn: RunningCdn) -> int:
    """What the node and its workers hold, without files that they have mapped."""
    assert cdn.process is not None
    pids = [cdn.process.pid]
    children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
    for pid in map(int, children):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.append(pid)
    total = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += KIB * sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return total


@pytest.fixture
def cdn(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningCdn]:
    limits = tmp_path / "limits.toml"
    limits.write_text(LIMITS)
    bounds = ("--memory", MEMORY, "--disk", DISK, "--config", str(limits))
    options = ("--allow-private-upstreams", "--https", "127.0.0.1:0", *bounds)
    made = RunningCdn(tmp_path, (*options, "--workers", str(request.param)))
    made.start()
    yield made
    assert made.stop() == 0
    words = (tmp_path / "up.log").read_text()
    assert "Traceback" not in words, words[-4000:]


def report(play: Play) -> None:
    held = [size // MIB for size in play.memory]
    print(f"{play.done} answers {play.statuses}, {play.changes} changes, memory in MiB {held}")


@pytest.mark.parametrize("cdn", [2], indirect=True)
async def test_no_octet_is_wrong_whatever_goes_on(cdn: RunningCdn) -> None:
    play = Play(cdn, requests=600, between=120)
    await play.run()
    report(play)
    assert play.changes >= 3
    assert play.statuses.keys() >= {200, 206, 304}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("cdn", [1, 2], indirect=True)
async def test_memory_stays_flat(cdn: RunningCdn) -> None:
    play = Play(cdn, requests=40_000, between=400)
    await play.run()
    report(play)
    third = len(play.memory) // 3
    middle, last = statistics.median(play.memory[third : 2 * third]), statistics.median(play.memory[2 * third :])
    assert last <= 1.05 * middle + 4 * MIB, f"{middle / MIB:.1f} MiB, then {last / MIB:.1f} MiB"
