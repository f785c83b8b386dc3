"""A disk of a few megabytes that a test may fill to the last byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdn.journal.replica import TAIL_SUFFIX

FILL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of its own, mounted at `folder`."""

    folder: Path

    def fill(self) -> None:
        """Until not one more byte fits, nor into the room that a node's copy has made for its newest records."""
        for tail in self.folder.rglob(f"*{TAIL_SUFFIX}"):
            os.truncate(tail, len(tail.read_bytes().rstrip(b"\0")))
        descriptor = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            size_bytes = FILL_BYTES
            while size_bytes:
                try:
                    os.write(descriptor, b"\0" * size_bytes)
                except OSError:
                    size_bytes //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """What `fill` took."""
        (self.folder / "filler").unlink()


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs at the new `folder`; the test fails where that is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.fail(
            f"A full disk needs a small file system, and mounting one was refused ({mounted.stderr.strip()}): "
            "run this test as root, in a container with CAP_SYS_ADMIN.",
            pytrace=False,
        )
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
