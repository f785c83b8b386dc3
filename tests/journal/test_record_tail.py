"""The tail of a node's copy: what returned from `append` is there after any death, what was forgotten is not."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from cdn.errors import Unavailable
from cdn.journal.record_tail import GROWTH_BYTES, MAX_KEPT_BYTES, Entry, RecordTail


def _entries(*sequences: int, size_bytes: int = 40) -> list[Entry]:
    return [(sequence, b"%d:" % sequence + bytes([sequence % 251]) * size_bytes) for sequence in sequences]


async def _read(path: Path) -> list[Entry]:
    """What another process would find."""
    tail = RecordTail(path, Unavailable)
    found: list[Entry] = []
    while part := await tail.read(3):
        found += part
    await tail.aclose()
    return found


async def test_what_was_appended_is_read_again_in_order(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    tail = RecordTail(path, Unavailable)
    assert await tail.read(10) == []
    await tail.append(_entries(1, 2))
    await tail.append(_entries(3))
    await tail.append([(4, b"")])
    assert await _read(path) == [*_entries(1, 2, 3), (4, b"")]
    await tail.aclose()
    await tail.aclose()
    again = RecordTail(path, Unavailable)
    assert await again.read(2) == _entries(1, 2)
    await again.append(_entries(9))  # in place of what was not read
    await again.aclose()
    assert await _read(path) == _entries(1, 2, 9)


async def test_what_was_forgotten_never_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    tail = RecordTail(path, Unavailable)
    await tail.append(_entries(*range(1, 20)))
    await tail.cut(4)
    assert await _read(path) == _entries(1, 2, 3, 4)
    for again in (_entries(5), _entries(6, size_bytes=41)):  # the very same, and another
        await tail.append(again)
        assert (await _read(path))[-1:] == again
    await tail.reset()
    assert await _read(path) == []
    await tail.append(_entries(1, 2))  # where the same stood before, and others after it
    assert await _read(path) == _entries(1, 2)
    await tail.aclose()


async def test_a_death_within_a_write_leaves_what_was_there_before_and_no_half_of_an_entry(tmp_path: Path) -> None:
    path, torn = tmp_path / "tail", tmp_path / "torn"
    tail = RecordTail(path, Unavailable)
    await tail.append(_entries(1, 2))
    before = path.read_bytes()
    await tail.append(_entries(3, 4))
    after = path.read_bytes()
    await tail.aclose()
    differing = [index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    chance = random.Random(1)
    for _ in range(200):
        written = bytearray(before)
        for index in range(differing[0], differing[-1] + 1):  # sectors, or single octets, in any order
            if chance.random() < 0.97:
                written[index] = after[index]
        torn.write_bytes(written)
        assert await _read(torn) in [_entries(*range(1, last + 1)) for last in (2, 3, 4)]
    for end in range(differing[0], differing[-1] + 1):
        torn.write_bytes(after[:end])
        found = await _read(torn)
        assert found in [_entries(1, 2), _entries(1, 2, 3)]


@pytest.mark.parametrize("content", [b"", b"CDNTAIL", bytes(300), b"no tail at all" * 50])
async def test_a_file_that_never_was_one_is_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tail"
    path.write_bytes(content)
    tail = RecordTail(path, Unavailable)
    assert await tail.read(5) == []
    await tail.append(_entries(1))
    await tail.aclose()
    assert await _read(path) == _entries(1)


async def test_a_full_disk_is_said_and_the_next_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tail"
    tail = RecordTail(path, Unavailable)
    await tail.append(_entries(1))
    real = os.pwrite

    def short(descriptor: int, content: bytes, offset: int) -> int:
        monkeypatch.setattr(os, "pwrite", full)
        return real(descriptor, content[:30], offset)

    def full(descriptor: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", short)
    for _ in range(2):
        with pytest.raises(Unavailable, match="No space left"):
            await tail.append(_entries(2, 3))
    monkeypatch.undo()
    assert await _read(path) == _entries(1)
    await tail.append(_entries(2))
    await tail.aclose()
    assert await _read(path) == _entries(1, 2)
    with pytest.raises(Unavailable, match="is closed"):
        await tail.append(_entries(3))


async def test_its_name_is_durable_whoever_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tail"
    synced: list[int] = []

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    tail = RecordTail(path, Unavailable)
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Unavailable, match="Input/output error"):
        await tail.append(_entries(1))
    assert path.exists()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    await tail.append(_entries(1))
    assert synced == [tmp_path.stat().st_ino]
    await tail.aclose()


async def test_it_is_durable_by_the_system_call_itself_and_grows_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tail"
    tail = RecordTail(path, Unavailable)
    flags: list[int] = []
    opened = os.open

    def noting(name: Path, how: int, mode: int = 0o777) -> int:
        if name == path:
            flags.append(how)
        return opened(name, how, mode)

    monkeypatch.setattr(os, "open", noting)
    sizes: set[int] = set()
    for sequence in range(1, 30):
        await tail.append(_entries(sequence, size_bytes=20_000))
        sizes.add(path.stat().st_size)
    await tail.aclose()
    assert flags
    assert all(how & os.O_DSYNC for how in flags)
    assert len(sizes) == -(-29 * 20_020 // GROWTH_BYTES)
    assert len(await _read(path)) == 29


async def test_a_long_file_is_shortened_when_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    tail = RecordTail(path, Unavailable)
    await tail.append(_entries(1, size_bytes=MAX_KEPT_BYTES + 5))
    copy = tmp_path / "copy"
    shutil.copyfile(path, copy)
    await tail.reset()
    assert path.stat().st_size == MAX_KEPT_BYTES
    await tail.append(_entries(2))
    await tail.aclose()
    assert await _read(path) == _entries(2)
    assert len(await _read(copy)) == 1
