"""An append whose answer was lost: control looks into the journal before it says anything or tries again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.control.state import MAX_UNCERTAIN_APPENDS, ControlState
from cdn.errors import Conflict
from cdn.fleet.position import Position
from cdn.journal.journal import AppendUncertain, Conflicted, JournalUnavailable
from cdn.journal.record import Draft, Purged, PurgeScope, Record, SiteCreated
from cdn.journal.sqlite import SqliteJournal

PURGE = Purged("s", (PurgeScope("everything", ""),), False)
SITE = SiteCreated(site_id="s", name="blog", settings={})


class Forgetful:
    """A journal that loses answers: of the next appends those in `lost`, of which those in `kept` were recorded."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.answers: list[str] = []
        self.is_away = False
        self.sent = 0

    @property
    def epoch(self) -> str:
        return self._journal.epoch

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        self.sent += 1
        answer = self.answers.pop(0) if self.answers else "given"
        if answer != "never recorded":
            outcome = await self._journal.append(draft, expected_sequence=expected_sequence)
        if answer != "given":
            raise AppendUncertain("the answer was lost")
        return outcome

    async def position(self) -> Position:
        if self.is_away:
            raise JournalUnavailable("away")
        return await self._journal.position()

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Forgetful]:
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    yield Forgetful(journal)
    await journal.aclose()


@pytest.fixture
async def state(journal: Forgetful) -> AsyncIterator[ControlState]:
    state = ControlState(journal, ())  # type: ignore[arg-type]
    await state.start()
    yield state
    await state.aclose()


@pytest.mark.parametrize("answer", ["recorded", "never recorded"])
async def test_it_is_recorded_once(state: ControlState, journal: Forgetful, answer: str) -> None:
    await state.append_always("purge/s", PURGE, "ann")
    journal.answers = [answer]
    record = await state.append_always("purge/s", PURGE, "ann")
    assert record.sequence == 2
    assert (await journal.position()).sequence == 2
    journal.answers = [answer]
    compared = await state.append("site/blog", lambda: SITE, "ann")
    assert (compared.sequence, state.position.sequence) == (3, 3)
    assert (await journal.position()).sequence == 3


async def test_a_record_of_another_is_not_taken_for_it(state: ControlState, journal: Forgetful) -> None:
    def taken() -> SiteCreated:
        if state.position.sequence:
            raise Conflict("the name is taken")
        return SITE

    async def other(draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        await journal._journal.append(Draft("site/blog", SITE, "bob", draft.audience), expected_sequence=None)
        del journal.append
        raise AppendUncertain("the answer was lost")

    journal.append = other  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="the name is taken"):
        await state.append("site/blog", taken, "ann")
    assert (await journal.position()).sequence == 1


async def test_what_cannot_be_looked_up_is_said_to_be_uncertain(state: ControlState, journal: Forgetful) -> None:
    journal.answers, journal.is_away = ["recorded"], True
    with pytest.raises(AppendUncertain):
        await state.append_always("purge/s", PURGE, "ann")
    assert journal.sent == 1, "nobody repeats what may be there"


async def test_it_ends(state: ControlState, journal: Forgetful) -> None:
    journal.answers = ["never recorded"] * 10
    with pytest.raises(AppendUncertain):
        await state.append_always("purge/s", PURGE, "ann")
    assert journal.sent == MAX_UNCERTAIN_APPENDS
