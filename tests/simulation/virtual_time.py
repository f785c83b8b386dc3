"""An event loop on which time jumps, and machines on it that can be stopped, put to sleep and killed."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, cast

T = TypeVar("T")

NOWHERE = Context()
"""What happens between machines: frames on their way, disks, faults."""

MAX_STEPS = 200_000
"""A run that takes more goes round in circles."""


STEP_S = 1e-6
"""What a callback takes: two looks at a clock never say the same for ever."""


class Machine:
    """One life of a process and what it runs on. Whatever was begun in its context waits while it is stopped."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_stopped = False
        self.is_dead = False
        self.slept_s = 0.0
        self.backlog: list[Step] = []
        self.clocks: Any = None
        self.context = Context()
        self.context.run(_machine.set, self)


_machine: ContextVar[Machine | None] = ContextVar("machine", default=None)


def this_machine() -> Machine:
    """The one on which this runs."""
    machine = _machine.get()
    assert machine is not None, "it runs on no machine"
    return machine


class Step:
    """A callback with its machine: what asyncio calls a handle. `when` is None for what is ready at once."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "machine", "when_s")

    def __init__(
        self, when_s: float | None, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.when_s = when_s
        self.machine = context.get(_machine)
        self.is_cancelled = False
        self.callback = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.when_s or 0.0


class VirtualLoop:
    """Runs what is ready in the order in which it became so, then goes to the next moment at which something is due."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self.faults: list[str] = []
        self.steps = 0
        self._rng = rng
        self._as_loop = cast("asyncio.AbstractEventLoop", self)  # as much of one as tasks and futures use
        self._ready: deque[Step] = deque()
        self._timers: list[tuple[float, int, Step]] = []
        self._count = 0
        self._stopped: list[Machine] = []
        self._is_over = False
        self.connect_unix: Callable[[str, Callable[[], Any]], tuple[Any, Any]] = _refuse

    # What asyncio asks of a loop.

    def time(self) -> float:
        machine = _machine.get()
        return self.now if machine is None else self.now - machine.slept_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Step:
        step = Step(None, callback, args, copy_context() if context is None else context)
        self._ready.append(step)
        return step

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Step:
        step = Step(0.0, callback, args, copy_context() if context is None else context)
        machine = step.machine
        step.when_s = self.now + delay - (0.0 if machine is None else machine.slept_s)
        self._count += 1
        heapq.heappush(self._timers, (self.now + delay, self._count, step))
        return step

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Step:
        step = Step(when, callback, args, copy_context() if context is None else context)
        self._push(step)
        return step

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._as_loop)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self._as_loop, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """At once, and the answer a moment later, as from a thread."""
        future: asyncio.Future[T] = self.create_future()
        answer: Callable[..., None]
        try:
            answer, outcome = _finish, func(*args)
        except Exception as exc:
            answer, outcome = _fail, exc  # type: ignore[assignment]
        self.after(self._rng.uniform(0.0, 0.003), answer, future, outcome)
        return future

    async def create_unix_connection(self, factory: Callable[[], Any], path: str) -> tuple[Any, Any]:
        """A connection to who listens there. Raises ConnectionRefusedError."""
        return self.connect_unix(path, factory)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        self.faults.append(f"{context.get('message')}: {exc!r}")

    # What a simulation asks.

    def after(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Step:
        """Call on no machine, in `delay_s`."""
        step = Step(self.now + delay_s, callback, args, NOWHERE)
        self._count += 1
        heapq.heappush(self._timers, (self.now + delay_s, self._count, step))
        return step

    def deliver(self, at: float, machine: Machine, callback: Callable[..., object], *args: Any) -> None:
        """Call on the machine at `at`, or when it runs again: what comes from outside does not know that it slept."""
        self._count += 1
        heapq.heappush(self._timers, (at, self._count, Step(None, callback, args, machine.context)))

    def start(self, machine: Machine, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run on the machine."""
        return self.create_task(coro, context=machine.context.copy())

    def stop_machine(self, machine: Machine) -> None:
        """Nothing runs on it from now on; its clock CLOCK_BOOTTIME goes on."""
        if not self._is_over:
            machine.is_stopped = True
            self._stopped.append(machine)

    def resume(self, machine: Machine, slept_s: float = 0.0) -> None:
        """It goes on. `slept_s`: for so long its CLOCK_MONOTONIC, by which timers run, stood still."""
        if machine.is_dead:
            return
        machine.slept_s += slept_s
        self._thaw(machine)

    def kill(self, machine: Machine) -> None:
        """Nothing of it runs ever again, not even what tidies up."""
        machine.is_dead = True
        self.stop_machine(machine)

    def run_until(self, deadline: float) -> None:
        """Go on until `deadline`, or until a fault."""
        timers, run = self._timers, self._run_ready
        asyncio._set_running_loop(self._as_loop)
        try:
            while True:
                run()
                if not timers or timers[0][0] > deadline:
                    self.now = max(self.now, deadline)
                    return
                due, _, step = heapq.heappop(timers)
                if step.is_cancelled:
                    continue
                if due > self.now:
                    self.now = due
                machine = step.machine
                when_s = step.when_s
                if machine is not None and when_s is not None and when_s + machine.slept_s > self.now + 1e-9:
                    self._push(step)
                else:
                    self._ready.append(step)
        finally:
            asyncio._set_running_loop(None)

    def close_down(self) -> None:
        """End every task, also those of dead machines, so that nothing is left to complain about."""
        self._is_over = True
        asyncio._set_running_loop(self._as_loop)
        try:
            for machine in self._stopped:
                self._thaw(machine)
            for task in asyncio.all_tasks(self._as_loop):
                task.cancel()
        finally:
            asyncio._set_running_loop(None)
        self.run_until(self.now + 60.0)

    def _thaw(self, machine: Machine) -> None:
        machine.is_stopped = False
        backlog, machine.backlog = machine.backlog, []
        for step in backlog:
            if step.when_s is not None:
                self._push(step)
            else:
                self._ready.append(step)

    def _push(self, step: Step) -> None:
        self._count += 1
        slept_s = 0.0 if step.machine is None else step.machine.slept_s
        heapq.heappush(self._timers, (step.when() + slept_s, self._count, step))

    def _run_ready(self) -> None:
        """Whatever is ready, and what becomes so by it."""
        ready = self._ready
        while ready:
            step = ready.popleft()
            machine = step.machine
            if machine is not None and machine.is_stopped:
                machine.backlog.append(step)
                continue
            if step.is_cancelled:
                continue
            self.steps += 1
            self.now += STEP_S
            if self.steps > MAX_STEPS:
                raise RuntimeError("the simulation goes round in circles")
            try:
                step.context.run(step.callback, *step.args)
            except Exception as exc:
                self.faults.append(f"a callback failed: {exc!r}")


def _refuse(path: str, factory: Callable[[], Any]) -> tuple[Any, Any]:
    raise ConnectionRefusedError(f"nobody listens at {path}")


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
