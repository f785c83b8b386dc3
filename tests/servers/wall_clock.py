"""A wall clock that a test sets, for one process that it starts: a library of ours that is preloaded (needs gcc)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class CompilerMissing(RuntimeError):
    """There is no gcc."""


@dataclass(frozen=True, slots=True)
class WallClock:
    """`environment` is for the process; `set` counts at once, also while it runs. Monotonic clocks are left alone."""

    library: Path
    file: Path

    @classmethod
    def make(cls, library: Path, file: Path) -> WallClock:
        """A clock of its own at `file`, by a library that `build` made."""
        file.write_bytes(struct.pack("q", 0))
        return cls(library, file)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "WALL_CLOCK_FILE": str(self.file)}

    def set(self, offset_s: int) -> None:
        """From now on the process reads the time of the machine and this much more."""
        with self.file.open("r+b") as opened:
            opened.write(struct.pack("q", offset_s))


def build(folder: Path) -> Path:
    """The library, compiled. Raises CompilerMissing."""
    if shutil.which("gcc") is None:
        raise CompilerMissing(
            "A wall clock for tests needs gcc: sh scripts/need.sh gcc (Debian packages gcc, libc6-dev)."
        )
    library = folder / "wall_clock.so"
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library
