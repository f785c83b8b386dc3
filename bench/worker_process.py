"""A process of Python that does what it is told: one JSON document on a line in, one on a line out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

Answer = Callable[[dict[str, Any]], Awaitable[Any]]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The longest answer: times of every record at every node of a process."""


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The side that tells."""

    process: subprocess.Popen[str]
    first: Any = None
    """What it answered when it was told its settings."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Its answer. Raises RuntimeError when it has ended."""
        self.tell(question)
        return self.answer()

    def tell(self, question: Mapping[str, Any]) -> None:
        """Ask without waiting; `answer` brings the answers in order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the bench ended with status {self.process.wait()}")
        return json.loads(line)


@contextmanager
def running(module: str, settings: Mapping[str, Any], *, core: int | None = None) -> Iterator[WorkerProcess]:
    """`python -m MODULE`, told `settings` first; it has answered that when this returns."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    process = subprocess.Popen(
        [*pinned, sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    worker = WorkerProcess(process)
    try:
        yield replace(worker, first=worker.ask(settings))
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def serve(answer: Answer) -> None:
    """The side that is told: answer every line until there are no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        sys.stdout.write(json.dumps(await answer(json.loads(line))) + "\n")
        sys.stdout.flush()
