"""The supervisor of the processes that answer: it holds their sockets, tells them what is known, and replaces those
that die or hang. What waits in a socket meanwhile is answered by the next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cdn.dns.answering_messages import BrokenRelay, Down, Drain, Listening, Loaded, framed, read_up
from cdn.errors import Unavailable

FIRST_PAUSE_S = 0.05
"""Before a process that died is replaced; doubles while its successors die young."""

LONGEST_PAUSE_S = 5.0
"""Never longer: its sockets have questions waiting."""

YOUNG_S = 10.0
"""One that dies before that has found something that its successor will find as well."""

CHECK_S = 0.25
"""How often processes are looked at for signs of life."""

HANG_S = 4.0
"""One that has shown none for so long is killed: resolvers give up on a server after a few seconds."""

START_S = 60.0
"""From a process's start to its first answer, with all zones in memory; and for all zones that are told it later."""

MAX_FAILED_STARTS = 5
"""Of one place, when the server starts: the next will fail as well, and whoever waits is told."""

EXIT_S = 2.0
"""Beyond the time that TCP clients have, for a process to end."""

MAX_WAITING_BYTES = 1024 * 1024 * 1024
"""What may wait for a process that does not read: all zones. One that far behind is replaced."""

OPEN_NOW = "tcp.open"
"""What goes with the process; everything else that it counted did happen."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Place:
    """One process after another on the same sockets."""

    number: int
    udp: tuple[socket.socket, ...]
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    heard_at: float = 0.0
    began_at: float = 0.0
    spared_until: float = 0.0
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    counted: dict[str, float] = field(default_factory=dict)


class AnsweringPool:
    """`command` starts a process; the numbers of its descriptors are added: its relay, and its sockets, see
    `descriptors`. `greeting` is what a process is told first, so that it knows what all others know."""

    def __init__(
        self,
        udp: Sequence[tuple[socket.socket, ...]],
        tcp: Sequence[socket.socket],
        greeting: Callable[[], Sequence[Down]],
        command: Sequence[str],
    ) -> None:
        """`udp` are the sockets of each process; `tcp` those that all of them accept from."""
        self.died = 0
        self.hung = 0
        self._places = [_Place(number, sockets) for number, sockets in enumerate(udp, start=1)]
        self._tcp = tuple(tcp)
        self._greeting = greeting
        self._command = tuple(command)
        self._past: Counter[str] = Counter()
        self._is_ending = False
        self._is_hopeless = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """All of them answer when this returns. Raises Unavailable."""
        self._tasks = [
            asyncio.create_task(self._keep(place), name=f"answering {place.number}") for place in self._places
        ]
        self._tasks.append(asyncio.create_task(self._watch(), name="watch answering"))
        up = asyncio.gather(*(place.is_up.wait() for place in self._places))
        hopeless = asyncio.ensure_future(self._is_hopeless.wait())
        try:
            await asyncio.wait((up, hopeless), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if not up.done():
                raise Unavailable("the answering processes do not start: the log says why")
        finally:
            hopeless.cancel()
            up.cancel()
            await asyncio.gather(up, hopeless, return_exceptions=True)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of those that run now."""
        return tuple(place.process.pid for place in self._places if place.process is not None)

    @property
    def answering(self) -> int:
        """How many answer now."""
        return sum(place.is_up.is_set() for place in self._places)

    def tell(self, message: Down) -> None:
        """Queue it for all of them. One that does not take what it is told is replaced."""
        frame = framed(message)
        for place in self._places:
            writer = place.writer
            if writer is None:
                continue
            if writer.transport.get_write_buffer_size() > MAX_WAITING_BYTES:
                _log.warning("answering process %d takes nothing any more: it is replaced", place.number)
                _kill(place)
            else:
                writer.write(frame)
                if isinstance(message, Loaded):
                    place.spared_until = time.monotonic() + START_S

    def counted(self) -> dict[str, float]:
        """The sums over all processes that there were; what one counted after its last sign of life died with it."""
        total = self._past.copy()
        for place in self._places:
            total.update(place.counted)
        return dict(total)

    async def drain(self, timeout_s: float) -> None:
        """Let them answer what has come, and end. What is still in the sockets then is the caller's to answer."""
        self._is_ending = True
        self.tell(Drain(timeout_s))
        processes = [place.process for place in self._places if place.process is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s + EXIT_S):
                await asyncio.gather(*(process.wait() for process in processes))
        await self.aclose()

    async def aclose(self) -> None:
        """End all of them at once. The sockets stay open."""
        self._is_ending = True
        for place in self._places:
            _kill(place)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, place: _Place) -> None:
        """One process after another."""
        pause_s, failed_starts = FIRST_PAUSE_S, 0
        while True:
            began = time.monotonic()
            was_up = False
            try:
                was_up = await self._run(place)
            except OSError as exc:
                _log.error("answering process %d cannot be started: %s", place.number, exc)
            except Exception:  # noqa: BLE001 - its sockets have questions waiting, whatever it was
                _log.exception("answering process %d is begun anew", place.number)
            if self._is_ending:
                return
            self.died += 1
            failed_starts = 0 if was_up else failed_starts + 1
            if failed_starts >= MAX_FAILED_STARTS:
                self._is_hopeless.set()
            pause_s = FIRST_PAUSE_S if time.monotonic() - began > YOUNG_S else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run(self, place: _Place) -> bool:
        """From the start of a process to its end; whether it has answered. Raises OSError."""
        here, there = socket.socketpair()
        try:
            with there:
                handed = (there.fileno(), *(each.fileno() for each in (*place.udp, *self._tcp)))
                numbers = descriptors(there, place.udp, self._tcp)
                process = await asyncio.create_subprocess_exec(*self._command, *numbers, pass_fds=handed)
        except BaseException:
            here.close()
            raise
        place.process = process
        place.began_at = place.heard_at = time.monotonic()
        place.spared_until = 0.0
        try:
            reader, writer = await asyncio.open_connection(sock=here)
            with contextlib.closing(writer):
                for message in self._greeting():
                    writer.write(framed(message))
                place.writer = writer  # from here on it is told what changes, in this order
                await self._hear(place, reader)
        finally:
            was_up = place.is_up.is_set()
            place.is_up.clear()
            place.writer = None
            self._past.update({name: count for name, count in place.counted.items() if name != OPEN_NOW})
            place.counted = {}
            if not self._is_ending:
                _kill(place)
            await self._ended(place, process)
        return was_up

    async def _ended(self, place: _Place, process: asyncio.subprocess.Process) -> None:
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            _kill(place)
            await process.wait()
            raise
        finally:
            place.process = None
        if not self._is_ending:
            _log.warning("answering process %d (%d) ended with %d and is replaced", place.number, process.pid, code)

    async def _hear(self, place: _Place, reader: asyncio.StreamReader) -> None:
        """Until it is gone."""
        try:
            while True:
                message = await read_up(reader)
                place.heard_at = time.monotonic()
                if isinstance(message, Listening):
                    place.is_up.set()
                else:
                    place.counted = message.counted
        except (asyncio.IncompleteReadError, OSError) as exc:
            _log.info("answering process %d has gone: %r", place.number, exc)
        except BrokenRelay as exc:
            _log.error("answering process %d: %s", place.number, exc)

    async def _watch(self) -> None:
        """Kill those that show no life: questions wait in their sockets."""
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_S)
            away_s, looked_at = time.monotonic() - looked_at, time.monotonic()
            for place in self._places:
                if away_s > HANG_S / 2:  # this process was stopped, or the machine slept: nobody could be heard
                    place.heard_at += away_s
                    place.began_at += away_s
                if place.process is None or place.process.returncode is not None:
                    continue
                is_up = place.is_up.is_set()
                until = max(place.heard_at + HANG_S, place.spared_until) if is_up else place.began_at + START_S
                if looked_at > until:
                    said = f"shows no life for {HANG_S:g} s" if is_up else f"does not answer after {START_S:g} s"
                    _log.warning("answering process %d %s: it is replaced", place.number, said)
                    self.hung += 1
                    place.heard_at = place.began_at = looked_at
                    _kill(place)


def descriptors(
    relay: socket.socket, udp: Sequence[socket.socket], tcp: Sequence[socket.socket]
) -> tuple[str, str, str]:
    """The arguments of an answering process: the relay's descriptor, those of its UDP sockets, those for TCP."""
    return (
        str(relay.fileno()),
        ",".join(str(each.fileno()) for each in udp),
        ",".join(str(each.fileno()) for each in tcp),
    )


def _kill(place: _Place) -> None:
    if place.process is not None and place.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it was faster
            place.process.kill()
