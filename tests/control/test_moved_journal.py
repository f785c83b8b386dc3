"""A journal that goes on elsewhere: all of it goes along, whatever the archive has, and it never counts again."""

from __future__ import annotations

import pytest

from cdn.control.archive_layout import part_prefix
from cdn.control.epoch_order import last_epoch
from cdn.control.restoration import RecordsMissing, restore
from cdn.errors import Conflict
from cdn.fleet.position import Position
from cdn.journal.journal import JournalUnavailable
from cdn.journal.record import Draft, Purged, PurgeScope
from cdn.journal.sqlite import SqliteJournal
from tests.control.control_room import Control, ControlMaker


class Begun:
    """Where the new journal begins; refuses while it is told to."""

    def __init__(self) -> None:
        self.at: Position | None = None
        self.is_away = False

    async def __call__(self, epoch: str, after: int) -> None:
        if self.is_away:
            raise JournalUnavailable("NATS is away")
        self.at = Position(epoch, after)


async def lived(control: Control, purges: int = 10) -> Position:
    """Sites and purges, then control has stopped; where its journal ends."""
    await control.api.post("/v1/sites", {"name": "blog"})
    for number in range(purges):
        await control.api.post("/v1/sites/blog/purges", {"tags": [f"t{number}"]})
    end: Position = control.plane.state.position
    await control.close()
    return end


async def opened(control: Control) -> SqliteJournal:
    return await SqliteJournal.open(control.root / "journal.sqlite")


@pytest.mark.parametrize("lost", ["nothing", "the last part", "a part in the middle", "every part"])
async def test_what_the_archive_lacks_comes_from_the_journal(make_control: ControlMaker, lost: str) -> None:
    control = await make_control(archive_interval_s=0.0)
    end = await lived(control)
    keys = sorted([facts.key async for facts in control.store.scan(part_prefix(end.epoch))])
    assert len(keys) >= 3
    gone = {"nothing": [], "the last part": keys[-1:], "a part in the middle": keys[1:2], "every part": keys}[lost]
    for key in gone:
        await control.store.delete(key)
    begun, journal = Begun(), await opened(control)
    if gone:
        with pytest.raises(RecordsMissing):
            await restore(control.store, begun)
    moved = await restore(control.store, begun, journal=journal, clock=control.clock)
    await journal.aclose()
    assert (moved.former, moved.is_whole, moved.missing) == (end, True, None)
    assert begun.at == moved.position == Position(moved.position.epoch, end.sequence)
    assert (moved.sites, moved.complete_until) == (1, control.clock.now)
    with pytest.raises(Conflict, match="no longer counts"):
        await control.open()
    await control.close()


async def test_a_move_that_was_interrupted_is_repeated(make_control: ControlMaker) -> None:
    control = await make_control()
    end = await lived(control)
    begun, journal = Begun(), await opened(control)
    begun.is_away = True
    with pytest.raises(JournalUnavailable):
        await restore(control.store, begun, journal=journal)
    last = await last_epoch(control.store)
    assert last is not None
    assert last.entry.instead_of == end
    begun.is_away = False
    moved = await restore(control.store, begun, journal=journal)
    await journal.aclose()
    assert begun.at == moved.position
    assert (moved.position.sequence, moved.sites) == (end.sequence, 1)
    assert moved.position.epoch != last.entry.epoch != end.epoch


async def test_a_journal_that_was_replaced_goes_nowhere(make_control: ControlMaker) -> None:
    control = await make_control()
    await lived(control)
    await restore(control.store, Begun())
    journal = await opened(control)
    begun = Begun()
    purged = Purged("s", (PurgeScope("everything", ""),), False)
    await journal.append(Draft("purge/s", purged, "ann"), expected_sequence=None)  # after the store went on without it
    with pytest.raises(Conflict, match="this journal no longer counts"):
        await restore(control.store, begun, journal=journal)
    await journal.aclose()
    assert begun.at is None


async def test_a_journal_that_has_lost_records_is_not_moved(make_control: ControlMaker) -> None:
    control = await make_control()
    end = await lived(control)
    await control.close()
    (control.root / "older").mkdir()
    path = control.root / "older" / "journal.sqlite"
    await SqliteJournal.begin_epoch(path, end.epoch, after=2)
    journal, begun = await SqliteJournal.open(path), Begun()
    with pytest.raises(Conflict, match="it has lost records"):
        await restore(control.store, begun, journal=journal)
    await journal.aclose()
    assert begun.at is None
