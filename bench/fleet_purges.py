"""Purges until fifty followers have acknowledged, a hundred a second, against what bare JetStream takes to reach fifty.

The peer and the product take turns within one run, over one NATS server. The peer publishes into a stream to which
fifty ordered consumers of nats-py listen, and has arrived when the last of them has the message; beside it stands what
it takes until each has sent a message back, which is what a receipt needs. The product is asked by its API, like any
deploy hook, and has arrived when the complete receipt has come back: appended, sent to fifty nodes, durable on each,
applied, acknowledged by each.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StorageType, StreamConfig

from bench import worker_process
from bench.fleet_roles import ZONE, RunningControl, running_control
from bench.process_cpu import cpu_s
from bench.table import Fact, Row
from bench.worker_process import WorkerProcess
from tests.servers.nats import NatsLayout, start_single, stop_layout

FOLLOWERS, PROCESSES = 50, 2
PER_S = 100
SITE = "fleet"
SUBJECT, ACK_SUBJECT = "bare.purges", "bare-acks"

AT_MOST = 2.0

ARRIVAL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU microseconds for each purge."""

    control_us: float
    followers_us: float


def run_jetstream(folder: Path, *, rounds: int, round_s: float, followers: int = FOLLOWERS) -> list[Row | Fact]:
    """The rows of the journal on JetStream."""
    layout = start_single(folder / "nats")
    try:
        with (
            _subscribers(layout, followers) as subscribers,
            running_control(folder, nats=layout) as control,
            running_followers(folder, control, followers) as nodes,
        ):
            control.call("POST", "/v1/sites", {"name": SITE})
            return asyncio.run(_compare(layout, subscribers, control, nodes, rounds, round_s, followers))
    finally:
        stop_layout(layout)


def run_sqlite(folder: Path, *, rounds: int, round_s: float, followers: int = FOLLOWERS) -> list[Row | Fact]:
    """The row of the journal in SQLite, followed over WebSockets."""
    slowest: list[float] = []
    with running_control(folder) as control, running_followers(folder, control, followers) as nodes:
        control.call("POST", "/v1/sites", {"name": SITE})
        pids = {"control": [control.pid], "followers": [one.pid for one in nodes]}
        for number in range(rounds + 1):
            before = _cpu(pids)
            times = asyncio.run(_purges(control, round_s))
            after = _cpu(pids)
            if number == 0:
                continue  # the first round warms
            slowest.append(_p(times, 99))
            _say_times(f"round {number}: SQLite and WebSockets", times)
            _say_cpu({name: after[name] - before[name] for name in pids}, len(times))
    name = f"purge until {followers} nodes acknowledged, SQLite, {PER_S}/s, p99"
    return [Row(name, "ms", statistics.median(slowest), 100.0, "promise", 1.0)]


def purges_spent(control: RunningControl, nodes: list[WorkerProcess], round_s: float) -> Usage:
    """What purges cost, PER_S a second for a while."""
    pids = {"control": [control.pid], "followers": [one.pid for one in nodes]}
    asyncio.run(_purges(control, 1.0))
    before = _cpu(pids)
    purges = len(asyncio.run(_purges(control, round_s)))
    after = _cpu(pids)
    return Usage(*((after[name] - before[name]) / purges * 1e6 for name in pids))


@contextmanager
def _subscribers(layout: NatsLayout, count: int) -> Iterator[list[WorkerProcess]]:
    asyncio.run(_make_stream(layout))
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                worker_process.running(
                    "bench.fleet_subscribers",
                    {
                        "do": "start",
                        "url": layout.urls[0],
                        "count": part,
                        "subject": SUBJECT,
                        "ack_subject": ACK_SUBJECT,
                    },
                )
            )
            for part in _parts(count)
        ]


@contextmanager
def running_followers(folder: Path, control: RunningControl, count: int) -> Iterator[list[WorkerProcess]]:
    token = control.node_token()
    nodes = folder / "nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                worker_process.running(
                    "bench.fleet_followers",
                    {
                        "do": "start",
                        "control_url": control.url,
                        "token": token,
                        "name": f"n{number}-",
                        "count": part,
                        "folder": str(nodes),
                        "zone": ZONE,
                    },
                )
            )
            for number, part in enumerate(_parts(count))
        ]


def _parts(count: int) -> list[int]:
    return [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]


async def _make_stream(layout: NatsLayout) -> None:
    client = await nats.connect(layout.urls[0])
    await client.jetstream().add_stream(StreamConfig(name="bare", subjects=[SUBJECT], storage=StorageType.FILE))
    await client.close()


async def _compare(
    layout: NatsLayout,
    subscribers: list[WorkerProcess],
    control: RunningControl,
    nodes: list[WorkerProcess],
    rounds: int,
    round_s: float,
    followers: int,
) -> list[Row | Fact]:
    peer = await BarePeer.connect(layout, subscribers)
    bare: list[list[float]] = []
    answered: list[list[float]] = []
    ours: list[list[float]] = []
    pids = {
        "control": [control.pid],
        "followers": [one.pid for one in nodes],
        "subscribers": [one.pid for one in subscribers],
        "nats-server": [node.pid for node in layout.nodes],
    }
    spent: Counter[str] = Counter()
    for number in range(rounds + 1):
        one_bare = await peer.fan_out(round_s, followers)
        one_answered = await peer.with_answers(round_s, followers)
        before = _cpu(pids)
        one_ours = await _purges(control, round_s)
        after = _cpu(pids)
        if number == 0:
            continue  # the first round warms both
        bare.append(one_bare)
        answered.append(one_answered)
        ours.append(one_ours)
        spent.update({name: after[name] - before[name] for name in after})
        _say_times(f"round {number}: bare", one_bare)
        _say_times(f"round {number}: bare with answers", one_answered)
        _say_times(f"round {number}: purges", one_ours)
    await peer.aclose()
    _say_cpu(spent, sum(map(len, ours)))
    return _rows(ours, bare, answered, followers)


def _rows(
    ours: list[list[float]], bare: list[list[float]], answered: list[list[float]], followers: int
) -> list[Row | Fact]:
    rows: list[Row | Fact] = []
    for percent in (50, 99):
        one, plain, told = (statistics.median(_p(times, percent) for times in each) for each in (ours, bare, answered))
        name = f"purge until {followers} nodes acknowledged, JetStream, {PER_S}/s, p{percent}"
        rows.append(Row(name, "ms", one, plain, "bare fan-out", AT_MOST))
        rows.append(
            Row(f"the same beside bare fan-out with an answer from each, p{percent}", "ms", one, told, "bare", AT_MOST)
        )
        if percent == 99:
            rows.append(Row(name, "ms", one, 50.0, "promise", 1.0))
    return rows


class BarePeer:
    """Publishes as JetStream's own tools would."""

    def __init__(self, client: Client, subscribers: list[WorkerProcess]) -> None:
        self._client = client
        self._subscribers = subscribers
        self._answered: dict[int, tuple[int, float]] = {}
        self._last = 0

    @classmethod
    async def connect(cls, layout: NatsLayout, subscribers: list[WorkerProcess]) -> BarePeer:
        peer = cls(await nats.connect(layout.urls[0]), subscribers)
        await peer._client.subscribe(ACK_SUBJECT, cb=peer._take_answer)
        return peer

    async def aclose(self) -> None:
        await self._client.close()

    async def fan_out(self, round_s: float, count: int) -> list[float]:
        """Seconds from before each publish until the last of `count` subscribers had the message."""
        after = self._last
        sent = await self._publish(round_s, None)
        deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
        while True:
            arrived: dict[int, list[float]] = {}
            for subscriber in self._subscribers:
                for times in await asyncio.to_thread(subscriber.ask, {"do": "times", "after": after}):
                    for sequence, at in times:
                        arrived.setdefault(sequence, []).append(at)
            if all(len(arrived.get(sequence, ())) >= count for sequence in sent):
                return [max(arrived[sequence]) - at for sequence, at in sent.items()]
            if time.monotonic() > deadline:
                raise RuntimeError("a message of the peer did not arrive")
            await asyncio.sleep(0.05)

    async def with_answers(self, round_s: float, count: int) -> list[float]:
        """Seconds from before each publish until `count` subscribers have answered."""
        self._answered.clear()
        sent = await self._publish(round_s, {"Acknowledge": "1"})
        deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
        while any(self._answered.get(sequence, (0, 0.0))[0] < count for sequence in sent):
            if time.monotonic() > deadline:
                raise RuntimeError("an answer to the peer did not arrive")
            await asyncio.sleep(0.05)
        return [self._answered[sequence][1] - at for sequence, at in sent.items()]

    async def _publish(self, round_s: float, headers: dict[str, str] | None) -> dict[int, float]:
        """When each was sent, by sequence."""
        stream = self._client.jetstream()
        sent: dict[int, float] = {}

        async def one(number: int) -> float:
            at = time.monotonic()
            stored = await stream.publish(SUBJECT, b"x" * 200, headers=headers)
            sent[stored.seq] = at
            self._last = max(self._last, stored.seq)
            return 0.0

        await _at_rate(one, round_s)
        return sent

    async def _take_answer(self, message: Msg) -> None:
        sequence = int(message.data)
        count, _ = self._answered.get(sequence, (0, 0.0))
        self._answered[sequence] = (count + 1, time.monotonic())


async def _purges(control: RunningControl, round_s: float) -> list[float]:
    """Seconds from before each request until its complete receipt."""
    url = f"{control.url.rstrip('/')}/v1/sites/{SITE}/purges?wait=10"
    fields = {"Authorization": f"Bearer {control.admin_token}"}
    async with aiohttp.ClientSession(headers=fields, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int) -> float:
            began = time.monotonic()
            async with session.post(url, json={"tags": [f"t{number % 50}"]}) as answer:
                receipt: dict[str, Any] = await answer.json()
            if not receipt.get("complete"):
                raise RuntimeError(f"the receipt is not complete: {receipt}")
            return time.monotonic() - began

        return await _at_rate(one, round_s)


async def _at_rate(one: Callable[[int], Awaitable[float]], duration_s: float) -> list[float]:
    """Begin PER_S a second, whether or not earlier ones have ended: what is slow does not slow the question."""
    began = time.monotonic()
    tasks: list[asyncio.Future[float]] = []
    for number in range(int(duration_s * PER_S)):
        await asyncio.sleep(max(0.0, began + number / PER_S - time.monotonic()))
        tasks.append(asyncio.ensure_future(one(number)))
    return await asyncio.gather(*tasks)


def _cpu(pids: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(map(cpu_s, of)) for name, of in pids.items()}


def _p(times: Sequence[float], percent: int) -> float:
    """A percentile in milliseconds."""
    return statistics.quantiles(times, n=100)[percent - 1] * 1000


def _say_times(name: str, times: Sequence[float]) -> None:
    _say(f"  {name}: {len(times)}, ms p50 {_p(times, 50):.1f} p90 {_p(times, 90):.1f} p99 {_p(times, 99):.1f}")


def _say_cpu(spent: Mapping[str, float], purges: int) -> None:
    said = ", ".join(f"{name} {seconds / purges * 1e6:.0f} us" for name, seconds in spent.items())
    _say(f"  CPU per purge: {said}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
