"""Records are encoded once for all nodes at the same place, and no node is held to a frame that is out of date."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.control.record_frames import FEED_RECORDS, RecordFrame, RecordFrames
from cdn.journal.journal import Trimmed
from cdn.journal.record import (
    EDGE_AUDIENCES,
    EVERY_AUDIENCE,
    Audience,
    Draft,
    Record,
    TokenRevoked,
    Withheld,
    decode_record,
)
from cdn.journal.sqlite import SqliteJournal
from cdn.journal.wire import Records, decode_from_control
from tests.journal.ledger import purge


class CountedReads(SqliteJournal):
    """How often the journal was read."""

    reads = 0

    async def read(self, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        self.reads += 1
        return await super().read(after, limit=limit)


@pytest.fixture
async def journal(tmp_path: Path) -> CountedReads:
    journal = await CountedReads.open(tmp_path / "journal.db")
    assert isinstance(journal, CountedReads)
    return journal


async def append(journal: SqliteJournal, count: int) -> None:
    for number in range(count):
        await journal.append(purge(f"s{number}"), expected_sequence=None)


async def after(frames: RecordFrames, sequence: int, audiences: frozenset[Audience]) -> tuple[RecordFrame, ...]:
    found = await frames.after(sequence, audiences)
    assert not isinstance(found, Trimmed)
    return found


def sequences(content: bytes) -> list[int]:
    message = decode_from_control(content.decode())
    assert isinstance(message, Records)
    return [decode_record(bytes(raw)).sequence for raw in message.records]


async def test_nodes_at_the_same_place_share_one_reading(journal: CountedReads) -> None:
    frames = RecordFrames(journal)
    await append(journal, 3)
    (first,) = await after(frames, 1, EDGE_AUDIENCES)
    (again,) = await after(frames, 1, EDGE_AUDIENCES)
    assert again is first
    assert (first.last, sequences(first.content), journal.reads) == (3, [2, 3], 1)
    assert await frames.after(3, EDGE_AUDIENCES) == ()
    await journal.aclose()


async def test_a_node_that_is_behind_gets_what_came_since_in_the_same_frame(journal: CountedReads) -> None:
    frames = RecordFrames(journal)
    await append(journal, 1)
    (first,) = await after(frames, 0, EDGE_AUDIENCES)
    await append(journal, 2)
    assert sequences((await after(frames, 1, EDGE_AUDIENCES))[0].content) == [2, 3]
    (later,) = await after(frames, 0, EDGE_AUDIENCES)
    assert (first.last, sequences(later.content)) == (1, [1, 2, 3])
    await journal.aclose()


async def test_what_one_may_read_is_not_given_to_others(journal: CountedReads) -> None:
    frames = RecordFrames(journal)
    secret = Draft("token/t", TokenRevoked("t"), "somebody", Audience.CONTROL)
    await journal.append(secret, expected_sequence=None)
    for audiences, kind in ((EVERY_AUDIENCE, TokenRevoked), (EDGE_AUDIENCES, Withheld), (EVERY_AUDIENCE, TokenRevoked)):
        (frame,) = await after(frames, 0, audiences)
        message = decode_from_control(frame.content.decode())
        assert isinstance(message, Records)
        assert isinstance(decode_record(bytes(message.records[0])).change, kind)
    await journal.aclose()


async def test_long_ways_behind_are_read_in_parts_and_trimmed_ones_are_told(journal: CountedReads) -> None:
    frames = RecordFrames(journal)
    await append(journal, FEED_RECORDS + 5)
    assert (await after(frames, 0, EDGE_AUDIENCES))[-1].last == FEED_RECORDS
    await journal.trim(10)
    assert await frames.after(3, EDGE_AUDIENCES) == Trimmed(11)
    await journal.aclose()
