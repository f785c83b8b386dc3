"""Descriptors that are kept for sending: the file that was mapped, few of them, and none longer than its mapping."""

from __future__ import annotations

import os
import random
from pathlib import Path

from cdn.edge.mapped_file import OpenFile, map_file
from cdn.edge.open_files import OpenFiles

SIZE_BYTES = 4096


def mapped(path: Path) -> memoryview:
    path.write_bytes(random.Random(path.name).randbytes(SIZE_BYTES))
    with path.open("rb") as file:
        return map_file(file.fileno(), SIZE_BYTES, path)


def opened(files: OpenFiles, content: memoryview) -> OpenFile:
    file = files.of(content)
    assert file is not None
    return file


def open_paths() -> list[str]:
    """What this process has open now."""
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [str(path.readlink()) for path in links]


def test_the_same_descriptor_serves_again(tmp_path: Path) -> None:
    files, content = OpenFiles(), mapped(tmp_path / "a")
    first = opened(files, content)
    assert opened(files, content[:]) is first
    assert os.pread(first.descriptor, SIZE_BYTES, 0) == content.tobytes()


def test_the_least_recently_used_is_let_go(tmp_path: Path) -> None:
    files = OpenFiles(max_files=2)
    contents = [mapped(tmp_path / name) for name in "abc"]
    first, second = opened(files, contents[0]), opened(files, contents[1])
    assert opened(files, contents[0]) is first
    opened(files, contents[2])
    assert opened(files, contents[0]) is first
    assert opened(files, contents[1]) is not second


def test_what_is_being_sent_stays_open_and_closes_then(tmp_path: Path) -> None:
    files = OpenFiles(max_files=1)
    content, other = mapped(tmp_path / "a"), mapped(tmp_path / "b")
    sending = opened(files, content)
    opened(files, other)
    assert os.pread(sending.descriptor, 1, 0) == content[:1]
    before = open_paths().count(str(tmp_path / "a"))
    del sending
    assert open_paths().count(str(tmp_path / "a")) == before - 1


def test_no_descriptor_outlives_its_mapping(tmp_path: Path) -> None:
    files, content = OpenFiles(), mapped(tmp_path / "a")
    opened(files, content)
    (tmp_path / "a").unlink()
    del content
    assert not [path for path in open_paths() if path.startswith(str(tmp_path / "a"))]


def test_only_the_very_file_that_is_mapped(tmp_path: Path) -> None:
    files, content = OpenFiles(), mapped(tmp_path / "a")
    assert files.of(content[1:]) is None
    assert files.of(b"not a file") is None
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.of(content) is None
    (tmp_path / "a").write_bytes(bytes(SIZE_BYTES))
    assert files.of(content) is None
