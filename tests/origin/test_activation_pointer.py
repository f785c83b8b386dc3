"""Activation pointers: the later one stays, whoever writes last; what cannot be read is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.fleet.position import Position
from cdn.origin.activation import ActivationPointer, read_pointer, write_pointer
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import activation_key
from cdn.origin.store import PutOutcome, StoreUnavailable


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DirectoryStore]:
    opened = DirectoryStore(tmp_path)
    yield opened
    await opened.aclose()


def pointer(sequence: int, epoch: str = "e") -> ActivationPointer:
    return ActivationPointer(Position(epoch, sequence), f"d{sequence}", "0" * 64)


async def test_what_was_written_is_read(store: DirectoryStore) -> None:
    assert await read_pointer(store, "s1", "production") is None
    await write_pointer(store, "s1", "production", pointer(5))
    assert await read_pointer(store, "s1", "production") == pointer(5)
    assert await read_pointer(store, "s1", "next") is None


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [(pointer(5), pointer(7), 7), (pointer(7), pointer(5), 7), (pointer(9, "old"), pointer(5), 5)],
)
async def test_the_later_activation_stays(
    store: DirectoryStore, first: ActivationPointer, second: ActivationPointer, stays: int
) -> None:
    await write_pointer(store, "s1", "a", first)
    await write_pointer(store, "s1", "a", second)
    assert (await read_pointer(store, "s1", "a") or pointer(0)).position == Position("e", stays)


async def test_many_writers_leave_the_latest(store: DirectoryStore) -> None:
    await asyncio.gather(*(write_pointer(store, "s1", "a", pointer(n)) for n in (3, 9, 1, 7, 5)))
    assert await read_pointer(store, "s1", "a") == pointer(9)


async def test_a_writer_gives_up_when_it_always_loses(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object, **__: object) -> PutOutcome:
        return PutOutcome.PRECONDITION_FAILED

    monkeypatch.setattr(store, "put", lost)
    with pytest.raises(StoreUnavailable, match="changed 16 times"):
        await write_pointer(store, "s1", "a", pointer(1))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"version": 2}', b'{"version": 1, "position": {"epoch": "e", "sequence": "x"}}']
)
async def test_a_pointer_that_cannot_be_read_is_no_permission_to_serve(store: DirectoryStore, content: bytes) -> None:
    await store.put(activation_key("s1", "a"), content)
    with pytest.raises(StoreUnavailable, match="s1/a cannot be read"):
        await read_pointer(store, "s1", "a")
