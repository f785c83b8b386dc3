"""Which tokens a node is told that others ask: those of nodes, and every change."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from cdn.control import peer_tokens
from cdn.control.peer_tokens import PeerTokens
from cdn.control.token import make_token
from cdn.control.token_fold import TokenFold
from cdn.fleet.peers import PeerRoll, shown_by
from cdn.journal.record import RECORD_VERSION, Audience, Change, Record, TokenRevoked


class Journal:
    """Records go straight into the fold."""

    def __init__(self) -> None:
        self.fold = TokenFold()
        self.peers = PeerTokens(self.fold)
        self._sequences = itertools.count(1)

    def append(self, change: Change) -> None:
        record = Record(RECORD_VERSION, "e1", next(self._sequences), "s", 0.0, "a", Audience.CONTROL, change)
        self.fold.apply(record)
        self.peers.look(record.position)

    def create(self, *scopes: str, **options: Any) -> str:
        text, created = make_token(scopes, **options)
        self.append(created)
        return text


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_tokens_of_nodes_are_told_and_no_others(journal: Journal) -> None:
    journal.create("admin")
    own, anybody = journal.create("node:edge-1"), journal.create("node")
    several = journal.create("node:edge-2", "node:edge-3")
    told = journal.peers.current()
    assert [token.node_id for token in told] == ["edge-1", "", ""]
    roll = PeerRoll(told)
    assert all(roll.holder(shown_by(text), now=0.0) is not None for text in (own, anybody, several))
    assert not any(text.rpartition("_")[2] in repr(told) for text in (own, anybody, several))


def test_expiry_is_told(journal: Journal) -> None:
    text = journal.create("node:edge-1", expires_at=100.0)
    roll = PeerRoll(journal.peers.current())
    assert roll.holder(shown_by(text), now=99.0) is not None
    assert roll.holder(shown_by(text), now=101.0) is None


async def test_who_waits_hears_of_each_change_and_of_nothing_else(journal: Journal) -> None:
    text = journal.create("node:edge-1")
    told = journal.peers.current()
    waiting = asyncio.create_task(journal.peers.differs_from(told))
    await asyncio.sleep(0)
    journal.create("admin")
    await asyncio.sleep(0)
    assert not waiting.done(), "an admin's token is nobody's business"
    journal.append(TokenRevoked(text.split("_")[1]))
    async with asyncio.timeout(30):
        await waiting
        await journal.peers.differs_from(told)
    assert journal.peers.current() == ()


def test_the_newest_are_told_when_there_are_too_many(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_tokens, "MAX_PEERS", 2)
    for number in range(4):
        journal.create(f"node:edge-{number}")
    assert [token.node_id for token in journal.peers.current()] == ["edge-2", "edge-3"]


def test_a_snapshot_counts_as_a_change(journal: Journal) -> None:
    journal.create("node:edge-1")
    told = journal.peers.current()
    journal.fold.load({"tokens": [], "sites": {}})
    assert told
    assert journal.peers.current() == ()
