"""The access log's file: whole lines, whatever happens to disk, file and process, and nobody waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from cdn.edge.access_line import Said
from cdn.edge.access_log import BUFFER_BYTES, AccessLog
from cdn.edge.access_log_file import AccessLogFile
from cdn.edge.access_log_settings import STDOUT, AccessLogSettings
from cdn.errors import InvalidInput

WAITING_BYTES = 1 << 20


def line(number: int, size_bytes: int = 60) -> bytes:
    """A line of the log that is told from others by its number."""
    head = b'{"time":"%d","fill":"' % number
    return head + b"x" * (size_bytes - len(head) - 3) + b'"}\n'


def offer(file: AccessLogFile, lines: bytes) -> None:
    file.offer(bytearray(lines), lines.count(b"\n"))


def numbers(*paths: Path) -> list[int]:
    """Of the lines in these files. Fails when one is not whole."""
    found: list[int] = []
    for path in paths:
        raw = path.read_bytes()
        assert not raw or raw.endswith(b"\n")
        found += [int(json.loads(each)["time"]) for each in raw.splitlines()]
    return found


@pytest.fixture
def opened() -> Iterator[Callable[..., AccessLogFile]]:
    """Opens files, and ends their threads."""
    made: list[AccessLogFile] = []

    def open_(path: Path, max_waiting_bytes: int = WAITING_BYTES) -> AccessLogFile:
        made.append(AccessLogFile.open(path, max_waiting_bytes))
        return made[-1]

    yield open_
    for each in made:
        each.close(60)


def test_lines_are_appended_in_their_order(tmp_path: Path, opened: Callable[..., AccessLogFile]) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(line(0))
    file = opened(path)
    for number in range(1, 100):
        offer(file, line(2 * number - 1) + line(2 * number))
    file.close(60)
    assert numbers(path) == list(range(199))
    assert file.numbers() == {
        "written": 198,
        "written_bytes": path.stat().st_size - 60,
        "dropped_slow": 0,
        "dropped_fault": 0,
        "reopened": 0,
        "faults": 0,
    }


def test_a_new_file_is_not_for_everybody(tmp_path: Path, opened: Callable[..., AccessLogFile]) -> None:
    opened(tmp_path / "access.log").close(60)
    assert (tmp_path / "access.log").stat().st_mode & 0o7777 & ~0o640 == 0


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent/access\.log: No such file or directory; give a file"):
        AccessLogFile.open(tmp_path / "absent" / "access.log", WAITING_BYTES)
    assert AccessLog.open(AccessLogSettings()) is None


def test_rotation_loses_no_line_and_doubles_none(tmp_path: Path, opened: Callable[..., AccessLogFile]) -> None:
    """Two processes' files, moved away again and again while both write."""
    path = tmp_path / "access.log"
    files = [opened(path), opened(path)]
    moved: list[Path] = []
    for turn in range(20):
        for place, file in enumerate(files):
            for number in range(20):
                offer(file, line(turn * 40 + number * 2 + place))
        wait_until(path.exists)
        moved.append(tmp_path / f"access.log.{turn}")
        path.rename(moved[-1])
        for file in files:
            file.reopen()
    for file in files:
        file.close(60)
    assert sorted(numbers(path, *moved)) == list(range(800))
    assert [file.numbers()["reopened"] for file in files] == [20, 20]


def test_where_a_new_file_cannot_be_opened_the_old_one_goes_on(
    tmp_path: Path, opened: Callable[..., AccessLogFile]
) -> None:
    folder, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    folder.mkdir()
    path = folder / "access.log"
    file = opened(path)
    folder.rename(elsewhere)
    file.reopen()
    offer(file, line(1))
    wait_until(lambda: file.numbers()["written"] == 1)
    assert numbers(elsewhere / "access.log") == [1]
    elsewhere.rename(folder)
    offer(file, line(2))
    wait_until(lambda: file.numbers()["written"] == 2)
    assert file.numbers()["reopened"] == 1, "it is tried again with the next lines"
    assert file.numbers()["faults"] == 2
    assert numbers(path) == [1, 2]


def test_many_writers_of_one_file_keep_their_lines_whole(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from cdn.edge.access_log_file import AccessLogFile
        from tests.edge.test_access_log import line, offer
        file = AccessLogFile.open(Path(sys.argv[1]), 1 << 26)
        for turn in range(100):
            offer(file, b"".join(line(int(sys.argv[2]) * 10000 + turn * 20 + n, 300 + n) for n in range(20)))
        file.close(30)
        """
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), str(each)]) for each in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = numbers(path)
    assert len(found) == 3 * 2000
    for each in range(3):
        assert [number for number in found if number // 10000 == each] == [each * 10000 + n for n in range(2000)]


def test_a_slow_disk_holds_nobody_up_and_what_is_dropped_is_counted(
    tmp_path: Path, opened: Callable[..., AccessLogFile]
) -> None:
    """A pipe that nobody reads is the slowest disk of all."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = opened(path, max_waiting_bytes=20_000)
    for number in range(5000):
        offer(file, line(number, 100))
    dropped = file.numbers()["dropped_slow"]
    assert dropped > 4000
    reader = os.open(path, os.O_RDONLY)
    got = bytearray()
    finished = threading.Event()

    def drain() -> None:
        while got.count(b"\n") < 5000 - dropped:
            got.extend(os.read(reader, 65536))
        finished.set()

    threading.Thread(target=drain, daemon=True).start()
    assert finished.wait(30)
    os.close(reader)
    kept = [int(json.loads(each)["time"]) for each in got.splitlines()]
    assert kept == sorted(set(kept)), "what was kept is whole, once, and in its order"
    wait_until(lambda: file.numbers()["written"] == 5000 - dropped)
    offer(file, line(7))
    assert file.numbers()["dropped_slow"] == dropped, "there is room again"


def test_a_disk_that_holds_the_last_lines_up_does_not_hold_the_end_up(
    tmp_path: Path, opened: Callable[..., AccessLogFile], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "access.log"
    os.mkfifo(path)
    file = opened(path)
    offer(file, line(1, 4000) * 100)  # more than a pipe holds that nobody reads
    file.close(0.01)
    assert "the last lines of the access log are lost" in caplog.text
    with path.open("rb") as reader:
        wait_until(lambda: bool(reader.read1()) and not file.is_writing)


def test_a_process_that_was_stopped_while_it_wrote_holds_nobody_up(
    tmp_path: Path, opened: Callable[..., AccessLogFile]
) -> None:
    path = tmp_path / "access.log"
    file = opened(path)
    with path.open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        for number in range(1, 9):
            offer(file, line(number))
        wait_until(lambda: not file.is_writing)
        assert numbers(path) == list(range(1, 9))
        with path.open("ab") as half:
            half.write(line(9)[:30])
        offer(file, line(10))
        wait_until(lambda: not file.is_writing)
        assert file.numbers()["dropped_fault"] == 1, "who holds the lock may take away what is behind half a line"
        assert path.read_bytes().endswith(line(9)[:30])
    offer(file, line(11))
    wait_until(lambda: not file.is_writing)
    assert numbers(path) == [*range(1, 9), 11]
    assert file.numbers()["dropped_slow"] == 0


FULL = """
import resource, signal, sys
from pathlib import Path
from cdn.edge.access_log_file import AccessLogFile
from tests.edge.test_access_log import line, offer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
file = AccessLogFile.open(Path(sys.argv[1]), 1 << 20)
for number in range(4):
    offer(file, b"".join(line(number * 10 + n, 90) for n in range(6)))
file.close(60)
print(Path(sys.argv[1]).read_bytes().endswith(b"\\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
again = AccessLogFile.open(Path(sys.argv[1]), 1 << 20)
offer(again, line(99, 90))
again.close(60)
found = file.numbers()
print(found["written"], found["dropped_fault"], found["faults"], again.numbers()["written"])
"""


def test_a_full_disk_costs_lines_and_cuts_none(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["True", "11", "13", "3", "1"], "whole lines, also while nobody has written again"
    assert numbers(path) == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 99]
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("absent/access.log", "No such file or directory"),
        ("folder", "Is a directory"),
        ("file/access.log", "Not a directory"),
        ("folder/new.log", ""),
        ("file", ""),
        ("stdout", ""),
    ],
)
def test_whether_it_can_be_written_is_told_without_writing(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = STDOUT if place == "stdout" else tmp_path / place
    if reason:
        with pytest.raises(InvalidInput, match=reason) as told:
            AccessLogFile.check(path)
        with pytest.raises(InvalidInput) as opened:
            AccessLogFile.open(path, WAITING_BYTES)
        assert told.value.message == opened.value.message
    else:
        AccessLogFile.check(path)
    assert not (tmp_path / "folder" / "new.log").exists()


@pytest.mark.parametrize(
    ("left", "then"),
    [
        (line(1) + line(2)[:30], line(1)),
        (line(1) + b'{"ti', line(1)),
        (line(1)[:-1], b""),
        (line(1) + line(2, 4000)[:3999], line(1)),
        (b"# by hand", b"# by hand\n"),
        (line(1) + b"no line of ours", line(1) + b"no line of ours\n"),
        (b"y" * 9000, b"y" * 9000 + b"\n"),
        (b"", b""),
        (line(1), line(1)),
    ],
)
def test_what_a_death_left_of_a_line_is_taken_away_and_nothing_else_is(
    tmp_path: Path, opened: Callable[..., AccessLogFile], left: bytes, then: bytes
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(left)
    file = opened(path)
    offer(file, line(3))
    file.close(60)
    assert path.read_bytes() == then + line(3)


DYING = """
import os, sys
from pathlib import Path
from cdn.edge.access_log_file import AccessLogFile
from tests.edge.test_access_log import line, offer
file = AccessLogFile.open(Path(sys.argv[1]), 1 << 30)
number = 0
print("begins", flush=True)
while True:
    offer(file, b"".join(line(number + n, 400) for n in range(500)))
    number += 500
    while file._offered_bytes - file._taken_bytes > 1 << 22:
        pass
"""


def test_kill_9_leaves_whole_lines_for_the_next_process(tmp_path: Path, opened: Callable[..., AccessLogFile]) -> None:
    path = tmp_path / "access.log"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", DYING, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        before = path.stat().st_size
        wait_until(lambda before=before: path.stat().st_size > before + 1_000_000)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        process.stdout.close()
    file = opened(path)
    offer(file, line(0))
    file.close(60)
    found = numbers(path)
    assert found[-1] == 0
    begins = [place for place, number in enumerate(found) if number == 0]
    for begin, end in pairwise(begins):
        assert found[begin:end] == list(range(end - begin)), "none is missing before the last one of a process"


def test_a_pipe_gets_lines_undivided(tmp_path: Path) -> None:
    """Several processes write to the standard output that they share."""
    program = textwrap.dedent(
        """
        import sys
        from cdn.edge.access_log_file import AccessLogFile
        from cdn.edge.access_log_settings import STDOUT
        from tests.edge.test_access_log import line, offer
        file = AccessLogFile.open(STDOUT, 1 << 26)
        for turn in range(20):
            offer(file, b"".join(line(int(sys.argv[1]) * 1000 + turn * 10 + n, 900) for n in range(10)))
            file.reopen()
        print("offered", file=sys.stderr, flush=True)
        file.close(60)
        """
    )
    reading, writing = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(each)], stdout=writing, stderr=subprocess.PIPE)
        for each in range(3)
    ]
    os.close(writing)
    for process in processes:  # the pipe is full, and they wait for room: who then writes may be interrupted
        assert process.stderr is not None
        assert process.stderr.readline() == b"offered\n"
        process.stderr.close()
    with os.fdopen(reading, "rb", buffering=512) as pipe:
        found = Counter(int(json.loads(each)["time"]) for each in pipe)
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert found == Counter(each * 1000 + number for each in range(3) for number in range(200))


def test_lines_and_what_the_process_prints_itself_stand_side_by_side_in_a_file(tmp_path: Path) -> None:
    """As in `cdn up --access-log - > FILE`, when a visitor comes before it says that it is ready."""
    program = textwrap.dedent(
        """
        from cdn.edge.access_log_file import AccessLogFile
        from cdn.edge.access_log_settings import STDOUT
        from tests.edge.test_access_log import line, offer
        file = AccessLogFile.open(STDOUT, 1 << 20)
        offer(file, line(1))
        file.close(60)
        print("ready")
        """
    )
    path = tmp_path / "out"
    with path.open("wb") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True, timeout=60)
    assert path.read_bytes() == line(1) + b"ready\n"


def test_a_line_that_no_pipe_takes_undivided_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = AccessLogFile.open(path, 1 << 20)
    lines = [line(1, 100), line(2, 6000), line(3, 100)]
    with path.open("rb") as pipe:
        offer(file, b"".join(lines))
        assert [pipe.readline() for _ in lines] == lines
        file.close(30)


async def test_a_buffer_is_written_when_it_is_full_and_when_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog.open(AccessLogSettings(path), wall=lambda: 1_700_000_000.25, site_of=lambda host: "blog")
    assert log is not None
    said = log.encode(Said("a.example", "GET", "/", "HTTP/1.1", 200, 1, 0, "hit"))
    part = log.visitor_part("192.0.2.1", "http", "")
    log.append(1.0, part, said)
    one = len(log.buffer)
    while log.buffer:
        log.append(1.0, part, said)
    await until(lambda: path.stat().st_size >= BUFFER_BYTES)
    running = asyncio.create_task(log.run())
    log.append(1.0, part, said)
    before = path.stat().st_size
    await until(lambda: path.stat().st_size == before + one)
    log.append(1.0, part, said)
    running.cancel()
    await log.aclose()
    await log.aclose()
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert len(lines) * one == path.stat().st_size == before + 2 * one
    assert lines[0] == {
        "time": "2023-11-14T22:13:20.250Z",
        "scheme": "http",
        "address": "192.0.2.1",
        "host": "a.example",
        "method": "GET",
        "target": "/",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 1,
        "duration_ms": 0,
        "outcome": "hit",
        "site": "blog",
    }


async def test_what_was_said_before_a_file_was_moved_is_in_it(tmp_path: Path) -> None:
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog.open(AccessLogSettings(path))
    assert log is not None
    log.append(1.0, b"", b'"number":1}\n')
    path.rename(moved)
    log.reopen()
    log.append(1.0, b"", b'"number":2}\n')
    await log.aclose()
    assert [json.loads(each.read_text())["number"] for each in (moved, path)] == [1, 2]


async def test_times_are_true_to_the_millisecond(tmp_path: Path) -> None:
    path, wall = tmp_path / "access.log", [1_700_000_000.0]
    log = AccessLog.open(AccessLogSettings(path), wall=lambda: wall[0])
    assert log is not None
    shown: list[str] = []
    for step_ms in (0, 0.4, 0.5, 0.2, 1, 900, 98, 0.9, 1000):
        wall[0] += step_ms / 1000
        log.append(wall[0] - 1_600_000_000, b"", b'"x":1}\n')
        shown.append(f"{int(wall[0] * 1000) - 1_700_000_000_000}")
    await log.aclose()
    seconds = [json.loads(each)["time"].partition("22:13:2")[2] for each in path.read_text().splitlines()]
    assert [str(round(float(each[:-1]) * 1000)) for each in seconds] == shown


def wait_until(condition: Callable[[], bool]) -> None:
    """Fails after half a minute."""
    never = threading.Event()
    for _ in range(3000):
        if condition():
            return
        never.wait(0.01)
    raise AssertionError("it never came to be")


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)
