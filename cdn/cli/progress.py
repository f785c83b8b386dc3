"""How a deploy's progress is shown: a bar on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from cdn.cli.text import counted, in_bytes, safe
from cdn.publish.progress import Progress, Silence

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

TENTHS = 10
"""Plain lines while uploading: one per tenth, so that a build log stays short."""


class Lines:
    """A line per step and per tenth of the upload."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._files = self._bytes = self._arrived = self._arrived_bytes = self._tenths = 0

    def step(self, sentence: str) -> None:
        """Prints it."""
        print(safe(sentence), file=self._out, flush=True)

    def notice(self, sentence: str) -> None:
        """Prints it."""
        self.step(sentence)

    def uploading(self, file_count: int, size_bytes: int) -> None:
        """Prints how much there is to do."""
        self._files, self._bytes = file_count, size_bytes
        self.step(f"uploading {counted(file_count, 'file')}, {in_bytes(size_bytes)}")

    def uploaded(self, file_count: int, size_bytes: int) -> None:
        """Prints when another tenth of the files is done."""
        self._arrived += file_count
        self._arrived_bytes += size_bytes
        tenths = self._arrived * TENTHS // max(1, self._files)
        if tenths > self._tenths and self._files > TENTHS:
            self._tenths = tenths
            self.step(f"uploaded {self._arrived} of {self._files} files, {in_bytes(self._arrived_bytes)}")

    def uploads_done(self) -> None:
        """The last tenth said it."""


class Bar:
    """A bar for the upload, the steps as its title."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def step(self, sentence: str) -> None:
        """Shows it as a line of its own."""
        self._bars.console.print(safe(sentence), markup=False, highlight=False)

    def notice(self, sentence: str) -> None:
        """Shows it as a line of its own."""
        self.step(sentence)

    def uploading(self, file_count: int, size_bytes: int) -> None:
        """Begins the bar."""
        self._task = self._bars.add_task(f"uploading {counted(file_count, 'file')}", total=size_bytes or 1)

    def uploaded(self, file_count: int, size_bytes: int) -> None:
        """Moves the bar."""
        if self._task is not None:
            self._bars.advance(self._task, size_bytes)

    def uploads_done(self) -> None:
        """Fills the bar, also when all files were empty, and leaves it: what follows is printed below."""
        if self._task is not None:
            self._bars.update(self._task, completed=self._bars.tasks[self._task].total)
        self._bars.stop()


@contextmanager
def shown_progress(*, is_json: bool) -> Iterator[Progress]:
    """What suits where stderr goes; silent with --json."""
    if is_json:
        yield Silence()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield Bar(bars)
    else:
        yield Lines(sys.stderr)


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
