"""The supervisor of a node's workers: it owns their sockets, starts them, and replaces those that die or hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from cdn.edge.service import ListenerCounters
from cdn.edge.traffic import TRAFFIC
from cdn.edge.worker_line import WorkerLine
from cdn.edge.worker_messages import Drain, ReopenLog, Withdraw
from cdn.edge.worker_relay import WorkerRelay
from cdn.edge.worker_settings import HANG_S, START_S, WorkerSettings
from cdn.errors import Unavailable

FIRST_PAUSE_S = 0.05
"""Before a worker that died is replaced; doubles while its successors die young."""

LONGEST_PAUSE_S = 5.0
"""Never longer: its socket has visitors waiting."""

YOUNG_S = 10.0
"""One that dies before that has found something that its successor will find as well."""

CHECK_S = 0.5
"""How often workers are looked at for signs of life."""

MAX_FAILED_STARTS = 5
"""Workers of one place that end before they listen, when the node starts: the next one will end as well, and whoever
waits for the node is told after some seconds and not after START_S."""

EXIT_S = 2.0
"""Beyond the time to drain, for a process to end."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Place:
    """One worker after another on one socket."""

    number: int
    listening: socket.socket
    secure: socket.socket | None = None
    """Where it listens for https."""
    line: WorkerLine | None = None
    process: asyncio.subprocess.Process | None = None
    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    was_up: bool = False
    """Whether the present process, or the last one, has listened."""


class WorkerPool:
    """The front of a node with several workers. `command` starts a worker; two descriptors' numbers are added to it."""

    def __init__(
        self,
        settings: WorkerSettings,
        sockets: Sequence[socket.socket],
        relay: WorkerRelay,
        *,
        command: Sequence[str],
        clock: Callable[[], float],
        on_used: Callable[[int], None],
        secure: Sequence[socket.socket] = (),
        on_missing: Callable[[str], None] = lambda certificate_id: None,
    ) -> None:
        self._on_missing = on_missing
        self._settings = settings
        self._relay = relay
        self._command = tuple(command)
        self._clock = clock
        self._on_used = on_used
        self._places = [
            _Place(number, listening, also)
            for number, (listening, also) in enumerate(zip_longest(sockets, secure), start=1)
        ]
        self._past: Counter[str] = Counter()
        self._past_refused: Counter[str] = Counter()
        self._is_ending = False
        self._drain_s: float | None = None
        self._is_withdrawn = False
        self._is_hopeless = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.died = 0
        self.hung = 0

    @classmethod
    async def start(
        cls,
        settings: WorkerSettings,
        sockets: Sequence[socket.socket],
        relay: WorkerRelay,
        *,
        command: Sequence[str],
        clock: Callable[[], float],
        on_used: Callable[[int], None],
        secure: Sequence[socket.socket] = (),
        on_missing: Callable[[str], None] = lambda certificate_id: None,
    ) -> WorkerPool:
        """One worker for each of `sockets`, all listening when this returns. Raises Unavailable.

        `secure` are as many, for https, or none. `on_missing(certificate_id)`: a worker needs a certificate.
        """
        pool = cls(
            settings,
            sockets,
            relay,
            command=command,
            clock=clock,
            on_used=on_used,
            secure=secure,
            on_missing=on_missing,
        )
        pool._tasks = [asyncio.create_task(pool._keep(place), name=f"worker {place.number}") for place in pool._places]
        pool._tasks.append(asyncio.create_task(pool._watch(), name="watch workers"))
        try:
            await pool._started()
        except BaseException:
            await pool.aclose()
            raise
        return pool

    async def _started(self) -> None:
        """All listen. Raises Unavailable."""
        ups = [asyncio.ensure_future(place.is_up.wait()) for place in self._places]
        hopeless = asyncio.ensure_future(self._is_hopeless.wait())
        up = asyncio.gather(*ups)
        try:
            await asyncio.wait((up, hopeless), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if up.done():
                return
            if hopeless.done():
                raise Unavailable(f"a worker ended {MAX_FAILED_STARTS} times before it listened: the log says why")
            raise Unavailable(f"the workers did not listen within {START_S:g} s: the log says why")
        finally:
            hopeless.cancel()
            up.cancel()
            await asyncio.gather(up, hopeless, return_exceptions=True)

    # Front

    @property
    def port(self) -> int:
        """Where visitors connect."""
        port: int = self._places[0].listening.getsockname()[1]
        return port

    @property
    def https_port(self) -> int | None:
        """Where they connect by https."""
        secure = self._places[0].secure
        return None if secure is None else int(secure.getsockname()[1])

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What the workers accept from; they stay open as long as the pool."""
        return tuple(place.listening for place in self._places) + tuple(
            place.secure for place in self._places if place.secure is not None
        )

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the workers that run now."""
        return tuple(place.process.pid for place in self._places if place.process is not None)

    @property
    def counters(self) -> ListenerCounters:
        """What happened on every connection so far; what a worker counted after its last beat died with it."""
        total = self._past + self._now()
        refused = self._past_refused.copy()
        for line in self._lines():
            refused.update(line.refused)
        return ListenerCounters(
            connections=total["connections"],
            memo_hits=total["memo_hits"],
            recalled=total["recalled"],
            answered=total["answered"],
            timed_out=total["timed_out"],
            h2_connections=total["h2_connections"],
            h2_streams=total["h2_streams"],
            h2_resets=total["h2_resets"],
            refused=dict(refused),
        )

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._now()["open_connections"]

    def counted(self) -> Mapping[str, int]:
        """Workers, those that were replaced, and what all of them hold in memory."""
        now = self._now()
        return {
            "workers": sum(place.is_up.is_set() for place in self._places),
            "workers_died": self.died,
            "workers_hung": self.hung,
            "worker_memory_bytes": now["memory_bytes"],
            "worker_recalled": (self._past + now)["recalled"],
            **{name: self._past[name] + now[name] for name in self._past.keys() | now if name.startswith("tls_")},
            "worker_load_hundredths": max(
                (line.counted.get("load_hundredths", 0) for line in self._lines()), default=0
            ),
        }

    def traffic(self) -> Mapping[str, int]:
        """What all workers counted of their answers, see `Traffic.numbers`."""
        total = self._past + self._now()
        return {name.removeprefix(TRAFFIC): value for name, value in total.items() if name.startswith(TRAFFIC)}

    def reopen_log(self) -> None:
        """Have every worker open the file of the access log anew."""
        for line in self._lines():
            line.send(ReopenLog())

    def withdraw(self) -> None:
        """Go on serving, and say with every answer that its connection closes."""
        self._is_withdrawn = True
        for line in self._lines():
            line.send(Withdraw())

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, answer what was asked for, close; after `timeout_s` reset what is left."""
        self._is_ending = True
        self._drain_s = timeout_s
        for line in self._lines():
            line.send(Drain(timeout_s))
        processes = [place.process for place in self._places if place.process is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s + EXIT_S):
                await asyncio.gather(*(process.wait() for process in processes))
        await self.aclose()

    async def aclose(self) -> None:
        """End every worker at once, and close the sockets."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self.sockets:
            each.close()

    # One worker after another

    async def _keep(self, place: _Place) -> None:
        pause_s = FIRST_PAUSE_S
        failed_starts = 0
        while True:
            began = self._clock()
            place.was_up = False
            try:
                await self._run(place)
            except OSError as exc:
                _log.error("worker %d cannot be started: %s", place.number, exc)
            if self._is_ending:
                return
            self.died += 1
            failed_starts = 0 if place.was_up else failed_starts + 1
            if failed_starts >= MAX_FAILED_STARTS:
                self._is_hopeless.set()
            pause_s = FIRST_PAUSE_S if self._clock() - began > YOUNG_S else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run(self, place: _Place) -> None:
        """From the start of a process to its end."""
        here, there = socket.socketpair()
        try:
            with there:
                descriptors = [place.listening.fileno(), there.fileno()]
                if place.secure is not None:
                    descriptors.append(place.secure.fileno())
                process = await asyncio.create_subprocess_exec(
                    *self._command, *map(str, descriptors), pass_fds=descriptors
                )
        except BaseException:
            here.close()
            raise
        place.process = process
        try:
            reader, writer = await asyncio.open_connection(sock=here)
            await self._follow(place, reader, writer)
        finally:
            place.is_up.clear()
            if process.returncode is None and not self._was_asked_to_drain:
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    process.kill()
            code = await process.wait()
            place.process = None
            if not self._is_ending:
                _log.warning("worker %d (process %d) ended with %d and is replaced", place.number, process.pid, code)

    async def _follow(self, place: _Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = WorkerLine(
            place.number,
            reader,
            writer,
            clock=self._clock,
            on_change=self._relay.note_change,
            on_used=self._on_used,
            on_missing=self._on_missing,
        )
        place.line = line
        upping = asyncio.create_task(self._note_up(place, line), name=f"worker {place.number} listens")
        try:
            self._relay.attach(line, replace(self._settings, number=place.number))
            if self._is_withdrawn:
                line.send(Withdraw())
            if self._drain_s is not None:
                line.send(Drain(self._drain_s))
            await line.run()
        finally:
            upping.cancel()
            place.line = None
            counted = {name: value for name, value in line.counted.items() if name not in _LEVELS}
            self._past.update(counted)
            self._past_refused.update(line.refused)
            if not self._was_asked_to_drain and place.process is not None:
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    place.process.kill()
            if place.process is not None:
                await place.process.wait()
            # Only now: a process that was cut off may serve until its lease is over, or it is dead.
            self._relay.detach(line)

    async def _note_up(self, place: _Place, line: WorkerLine) -> None:
        await line.listening.wait()
        place.was_up = True
        place.is_up.set()

    @property
    def _was_asked_to_drain(self) -> bool:
        return self._drain_s is not None

    async def _watch(self) -> None:
        """Kill workers that show no life: their sockets have visitors waiting."""
        checked_at = self._clock()
        while True:
            await asyncio.sleep(CHECK_S)
            slept_s, checked_at = self._clock() - checked_at, self._clock()
            if slept_s > HANG_S / 2:  # this process was stopped, or the machine slept: nobody could be heard
                for each in self._lines():
                    each.heard_at += slept_s
                    each.began_at += slept_s
            for place in self._places:
                line, process = place.line, place.process
                if line is None or process is None or process.returncode is not None:
                    continue
                is_up = line.listening.is_set()
                if checked_at > (line.heard_at + HANG_S if is_up else line.began_at + START_S):
                    _log.warning(
                        "worker %d %s: it is replaced",
                        place.number,
                        f"shows no life for {HANG_S:g} s" if is_up else f"does not listen after {START_S:g} s",
                    )
                    self.hung += 1
                    line.heard_at = line.began_at = checked_at
                    with contextlib.suppress(ProcessLookupError):  # it was faster
                        process.kill()

    def _lines(self) -> list[WorkerLine]:
        return [place.line for place in self._places if place.line is not None]

    def _now(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for line in self._lines():
            total.update(line.counted)
        return total


_LEVELS = frozenset({"open_connections", "memory_bytes", "load_hundredths"})
"""What goes with the worker; everything else it counted did happen."""
