from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from cdn.cli.progress import Bar, Lines, shown_progress
from cdn.publish.progress import Progress, Silence


def drive(progress: Progress, count: int) -> None:
    progress.step("scanning \x1b[2J")
    progress.uploading(count, count * 1024)
    for _ in range(count):
        progress.uploaded(1, 1024)
    progress.uploads_done()


def test_lines_are_few_and_safe() -> None:
    out = io.StringIO()
    drive(Lines(out), 1000)
    lines = out.getvalue().splitlines()
    assert lines[:2] == [r"scanning \x1b[2J", "uploading 1000 files, 1000.0 KiB"]
    assert lines[2:] == [f"uploaded {n}00 of 1000 files, {n}00.0 KiB" for n in range(1, 10)] + [
        "uploaded 1000 of 1000 files, 1000.0 KiB"
    ]


def test_a_handful_of_files_needs_no_lines_between() -> None:
    out = io.StringIO()
    drive(Lines(out), 3)
    assert len(out.getvalue().splitlines()) == 2


def test_the_bar_fills() -> None:
    bars = Bars(console=Console(file=io.StringIO()))
    bars.start()
    drive(Bar(bars), 5)
    assert bars.tasks[0].percentage == 100
    assert not bars.live.is_started, "what follows is printed below the bar"


def test_empty_files_fill_the_bar_too() -> None:
    bars = Bars(console=Console(file=io.StringIO()))
    progress = Bar(bars)
    progress.uploading(1, 0)
    progress.uploaded(1, 0)
    progress.uploads_done()
    assert bars.tasks[0].finished


def test_json_is_silent_and_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(is_json=True) as progress:
        assert isinstance(progress, Silence)
    with shown_progress(is_json=False) as shown:
        shown.step("hashing")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hashing\n")
