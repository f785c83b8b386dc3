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


_machine: ContextVar[Machine | None] = ContextVar("machine", default=None)


class Step:
    """A callback with its machine: what asyncio calls a handle. `when` is None for what is ready at once."""

    __slots__ = ("_args", "_callback", "_context", "is_cancelled", "machine", "when_s")

    def __init__(
        self, when_s: float | None, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.when_s = when_s
        self.machine = context.get(_machine)
        self.is_cancelled = False
        self._callback = callback
        self._args = args
        self._context = context

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.when_s or 0.0

    def run(self) -> None:
        self._context.run(self._callback, *self._args)


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
        return self.call_at(self.time() + delay, callback, *args, context=context)

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

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        self.faults.append(f"{context.get('message')}: {exc!r}")

    # What a simulation asks.

    def after(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Step:
        """Call on no machine, in `delay_s`."""
        return self.call_at(self.now + delay_s, callback, *args, context=NOWHERE)

    def start(self, machine: Machine, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run on the machine."""
        context = copy_context()
        context.run(_machine.set, machine)
        return self.create_task(coro, context=context)

    def stop_machine(self, machine: Machine) -> None:
        """Nothing runs on it from now on; its clock CLOCK_BOOTTIME goes on."""
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
        ready, timers = self._ready, self._timers
        asyncio._set_running_loop(self._as_loop)
        try:
            while True:
                while ready:
                    self._run(ready.popleft())
                if not timers or timers[0][0] > deadline:
                    self.now = max(self.now, deadline)
                    return
                due, _, step = heapq.heappop(timers)
                if step.is_cancelled:
                    continue
                self.now = max(self.now, due)
                machine = step.machine
                if machine is not None and step.when() + machine.slept_s > self.now + 1e-9:
                    self._push(step)
                    continue
                self._run(step)
        finally:
            asyncio._set_running_loop(None)

    def close_down(self) -> None:
        """End every task, also those of dead machines, so that nothing is left to complain about."""
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

    def _run(self, step: Step) -> None:
        machine = step.machine
        if machine is not None and machine.is_stopped:
            machine.backlog.append(step)
            return
        self.steps += 1
        self.now += STEP_S
        if self.steps > MAX_STEPS:
            raise RuntimeError("the simulation goes round in circles")
        if step.is_cancelled:
            return
        try:
            step.run()
        except Exception as exc:
            self.faults.append(f"a callback failed: {exc!r}")


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
