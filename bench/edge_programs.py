"""The C programs of the benches: compiled when needed into a temporary folder, and the load's answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


def compile_program(name: str, folder: Path, *libraries: str) -> Path:
    """`bench/NAME.c` as a program in `folder`. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    words = ["gcc", "-O2", "-D_GNU_SOURCE", str(HERE / f"{name}.c"), "-o", str(program)]
    subprocess.run([*words, *(f"-l{library}" for library in libraries)], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Load:
    """What the load saw. Latencies are of the open loop alone."""

    requests: int
    elapsed_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class LoadFailed(RuntimeError):
    """A server answered otherwise than it should have, or not at all."""


@contextmanager
def load_on(name: str) -> Iterator[None]:
    """What fails here is said of that server. Raises LoadFailed."""
    try:
        yield
    except LoadFailed as failed:
        raise LoadFailed(f"{name}: {failed}") from failed


@dataclass(frozen=True, slots=True)
class LoadProgram:
    """`edge_load`, pinned to a core."""

    program: Path
    core: int

    @classmethod
    def compiled(cls, folder: Path, core: int) -> LoadProgram:
        return cls(compile_program("edge_load", folder, "ssl", "crypto", "m"), core)

    def run(self, mode: str, **settings: str | int | float) -> Load:
        """One run to its end. Raises LoadFailed."""
        done = subprocess.run(self._words(mode, settings), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadFailed(done.stderr.strip())
        return _judged(done.stdout, settings)

    @contextmanager
    def in_steps(self, mode: str, **settings: str | int | float) -> Iterator[Steps]:
        """A run that waits between its steps (`visits`, `hold`)."""
        process = subprocess.Popen(
            self._words(mode, settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            yield Steps(process, settings)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _words(self, mode: str, settings: dict[str, str | int | float]) -> list[str]:
        words = ["taskset", "-c", str(self.core), str(self.program), mode]
        return [*words, *(word for name, value in settings.items() for word in (name.replace("_", "-"), str(value)))]


@dataclass(frozen=True, slots=True)
class Steps:
    """The side that says when the next step begins."""

    process: subprocess.Popen[str]
    settings: dict[str, str | int | float]

    def reach(self, word: str) -> None:
        """Wait until that step is over. Raises LoadFailed."""
        line = self._line()
        if line.strip() != word:
            raise LoadFailed(f"{line.strip()!r} came instead of {word}")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")

    def result(self) -> Load:
        """After the last step. Raises LoadFailed."""
        return _judged(self._line(), self.settings)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


def _judged(line: str, settings: dict[str, str | int | float]) -> Load:
    told = json.loads(line)
    if told["bad"]:
        raise LoadFailed(f"port {settings['port']}: {told['bad']} answers were wrong, first: {told['bad_reason']}")
    if told["requests"] < told.get("due", 0):  # the latencies of those that were answered would be too good
        raise LoadFailed(f"port {settings['port']}: {told['requests']} of {told['due']} requests were answered in time")
    names = ("requests", "elapsed_s", "p50_ms", "p99_ms")
    return Load(**{name: told[name] for name in names if name in told})
