"""A process of bare JetStream subscribers: the ordered consumers of nats-py, which do nothing but note the time."""

from __future__ import annotations

import resource
import time
from typing import Any

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.worker_process import serve


class Subscribers:
    """What the process is told to do."""

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self._times: list[list[tuple[int, float]]] = []
        self._ack_subject = ""

    async def answer(self, question: dict[str, Any]) -> Any:
        match question["do"]:
            case "start":
                self._ack_subject = question["ack_subject"]
                for _ in range(question["count"]):
                    await self._subscribe(question["url"], question["subject"])
                return True
            case "times":
                after = question["after"]
                return [[time for time in times if time[0] > after] for times in self._times]
            case "cpu":
                used = resource.getrusage(resource.RUSAGE_SELF)
                return used.ru_utime + used.ru_stime
            case unknown:
                raise ValueError(unknown)

    async def _subscribe(self, url: str, subject: str) -> None:
        """A connection of its own for each, as each is a machine of its own."""
        client = await nats.connect(url)
        times: list[tuple[int, float]] = []
        self._clients.append(client)
        self._times.append(times)

        async def take(message: Msg) -> None:
            sequence = message.metadata.sequence.stream
            times.append((sequence, time.monotonic()))
            if message.headers and "Acknowledge" in message.headers:
                await client.publish(self._ack_subject, str(sequence).encode())

        await client.jetstream().subscribe(subject, cb=take, ordered_consumer=True)
        await client.flush()


async def main() -> None:
    """`python -m bench.fleet_subscribers`, told by the bench."""
    await serve(Subscribers().answer)


if __name__ == "__main__":
    uvloop.run(main())
