"""Processes that code content, beside control, which never codes anything itself: one that dies costs a form."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from cdn.control.coding_work import HEAD_BYTES, CodingAnswer, CodingFault, CodingJob, answer_of, framed, length_of
from cdn.errors import Unavailable

JOB_TIMEOUT_S: Final = 300.0
"""The longest job takes some ten seconds of a core; on a machine that has no time for it much more."""

IDLE_S: Final = 60.0
"""A process without work is ended after so long: each holds 30 MB."""

log = logging.getLogger(__name__)


class CodingProcessGone(Unavailable):
    """The process did not get through the job: it ended, or took longer than JOB_TIMEOUT_S."""


class CodingPool:
    """At most `size` processes, each with one job; started when there is work, ended when there is none for a while."""

    def __init__(self, command: Sequence[str], size: int, *, job_timeout_s: float = JOB_TIMEOUT_S) -> None:
        self.size = size
        self._command = tuple(command)
        self._job_timeout_s = job_timeout_s
        self._turns = asyncio.Semaphore(size)
        self._idle: list[asyncio.subprocess.Process] = []
        self._ends: set[asyncio.Task[None]] = set()
        self._ending: asyncio.TimerHandle | None = None
        self.died = 0
        """Processes that ended in the middle of a job."""

    async def code(self, job: CodingJob) -> CodingAnswer:
        """What comes of a job, in its turn. Raises CodingProcessGone, CodingFault; Unavailable when none can start."""
        async with self._turns:
            process = await self._process()
            is_whole = False
            try:
                async with asyncio.timeout(self._job_timeout_s):
                    answer = await _exchange(process, job)
                is_whole = True
                return answer
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as exc:
                self.died += 1
                raise CodingProcessGone(
                    f"a coding process did not get through {len(job.content)} bytes: {exc or type(exc).__name__}"
                ) from exc
            finally:
                if is_whole:
                    self._idle.append(process)
                    self._end_later()
                else:
                    self._end(process, is_killed=True)

    async def aclose(self) -> None:
        """End every process. Jobs under way are those of tasks that were cancelled before."""
        if self._ending is not None:
            self._ending.cancel()
        while self._idle:
            self._end(self._idle.pop(), is_killed=True)
        await asyncio.gather(*self._ends)

    async def _process(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        except OSError as exc:
            raise Unavailable(f"no coding process can be started: {exc}") from exc

    def _end_later(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.get_running_loop().call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        while self._idle:
            self._end(self._idle.pop(), is_killed=False)

    def _end(self, process: asyncio.subprocess.Process, *, is_killed: bool) -> None:
        """It ends at the end of its input at the latest."""
        if is_killed:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        end = asyncio.create_task(_ended(process), name=f"end of coding process {process.pid}")
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Return when it is gone. `communicate` would write first, and a pipe that is closed already refuses that."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    await process.stdout.read()
    await process.wait()


async def _exchange(process: asyncio.subprocess.Process, job: CodingJob) -> CodingAnswer:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(framed(job))
    await process.stdin.drain()
    length = length_of(await process.stdout.readexactly(HEAD_BYTES))
    answer = answer_of(await process.stdout.readexactly(length))
    if not set(answer.forms) <= set(job.codings):
        raise CodingFault("a coding process answered something else than it was asked")
    return answer
