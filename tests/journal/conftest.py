"""The journals that the suite runs over. A second implementation is one more parameter here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cdn.journal.journal import Journal
from cdn.journal.sqlite import SqliteJournal

OpenJournal = Callable[[str], Awaitable[Journal]]
"""Opens the journal of that name; the same name gives the same history again."""


@pytest.fixture(params=["sqlite"])
async def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenJournal]:
    opened: list[Journal] = []

    async def open_sqlite(name: str) -> Journal:
        journal = await SqliteJournal.open(tmp_path / f"{name}.db")
        opened.append(journal)
        return journal

    match request.param:
        case "sqlite":
            yield open_sqlite
        case other:
            pytest.fail(f"no journal {other}")
    for journal in opened:
        await journal.aclose()


@pytest.fixture
async def journal(open_journal: OpenJournal) -> Journal:
    return await open_journal("journal")
