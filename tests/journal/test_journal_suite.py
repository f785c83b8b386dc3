"""What every journal promises. These tests know the Protocol only."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field

import pytest

from cdn.errors import InvalidInput, TooLarge
from cdn.fleet.position import Position
from cdn.journal.journal import Conflicted, Journal, JournalUnavailable, Trimmed
from cdn.journal.record import (
    MAX_RECORD_BYTES,
    Audience,
    DeployActivated,
    Draft,
    Purged,
    PurgeScope,
    Record,
    SiteCreated,
)
from tests.journal.conftest import OpenJournal
from tests.journal.ledger import purge, secret


async def _append(journal: Journal, draft: Draft, *, expected_sequence: int | None = None) -> Record:
    outcome = await journal.append(draft, expected_sequence=expected_sequence)
    assert isinstance(outcome, Record)
    return outcome


async def _read(journal: Journal, after: int, limit: int = 1000) -> tuple[Record, ...]:
    found = await journal.read(after, limit=limit)
    assert not isinstance(found, Trimmed)
    return found


async def test_an_empty_journal_stands_before_the_first_record(journal: Journal) -> None:
    assert await journal.position() == Position(journal.epoch, 0)
    assert await journal.read(0, limit=10) == ()
    assert len(journal.epoch) >= 16


async def test_two_journals_have_two_epochs(open_journal: OpenJournal) -> None:
    assert (await open_journal("one")).epoch != (await open_journal("two")).epoch


async def test_records_come_back_in_order_and_as_they_were_appended(journal: Journal) -> None:
    appended = [
        await _append(journal, Draft("site/a", SiteCreated("s1", "a", {"keep": ["x", {"y": None}]}), "admin")),
        await _append(journal, secret("t1")),
        await _append(journal, Draft("alias/s1/production", DeployActivated("s1", "production", "d1"), "ann")),
    ]
    assert [record.sequence for record in appended] == [1, 2, 3]
    assert {record.epoch for record in appended} == {journal.epoch}
    assert appended[1].audience is Audience.CONTROL
    assert await _read(journal, 0) == tuple(appended)
    assert await _read(journal, 1, limit=1) == (appended[1],)
    assert await _read(journal, 3) == ()
    assert await _read(journal, 99) == ()
    assert await journal.position() == appended[-1].position


async def test_what_is_read_equals_what_append_returned_even_for_tuples_in_settings(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    record = await _append(journal, Draft("site/a", SiteCreated("s1", "a", {"keep": ("x", "y")}), "admin"))
    await journal.aclose()
    assert await _read(await open_journal("journal"), 0) == (record,)


async def test_comparing_refuses_what_moved_and_tells_where_it_stands(journal: Journal) -> None:
    first = await _append(journal, purge("/a", subject="alias/1"), expected_sequence=0)
    await _append(journal, purge("/b", subject="alias/2"), expected_sequence=0)
    assert await journal.append(purge("/c", subject="alias/1"), expected_sequence=0) == Conflicted(1)
    assert await journal.append(purge("/c", subject="alias/1"), expected_sequence=2) == Conflicted(1)
    assert await journal.append(purge("/c", subject="alias/3"), expected_sequence=1) == Conflicted(0)
    second = await _append(journal, purge("/c", subject="alias/1"), expected_sequence=first.sequence)
    assert second.sequence == 3, "a refused append takes no sequence"
    await _append(journal, purge("/d", subject="alias/1"))
    assert await journal.append(purge("/e", subject="alias/1"), expected_sequence=3) == Conflicted(4)


async def test_of_many_racing_appends_on_one_subject_one_wins(journal: Journal) -> None:
    outcomes = await asyncio.gather(
        *(journal.append(purge(f"/{n}", subject="alias/1"), expected_sequence=0) for n in range(50))
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(winners) == 1
    assert {outcome for outcome in outcomes if isinstance(outcome, Conflicted)} == {Conflicted(1)}


async def test_concurrent_appends_keep_the_order_of_the_calls(journal: Journal) -> None:
    records = await asyncio.gather(*(_append(journal, purge(f"/{n}")) for n in range(700)))
    assert [record.sequence for record in records] == list(range(1, 701))
    assert await _read(journal, 0) == tuple(records)


async def test_comparing_still_knows_subjects_whose_records_were_trimmed(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    for n in range(5):
        await _append(journal, purge("/", subject=f"domain/{n}"))
    await journal.trim(4)
    await journal.aclose()
    journal = await open_journal("journal")
    assert await journal.append(purge("/", subject="domain/1"), expected_sequence=0) == Conflicted(2)
    assert (await _append(journal, purge("/", subject="domain/1"), expected_sequence=2)).sequence == 6


async def test_reading_what_was_trimmed_names_the_first_kept(journal: Journal) -> None:
    for n in range(10):
        await _append(journal, purge(f"/{n}"))
    await journal.trim(6)
    assert await journal.read(5, limit=1) == Trimmed(7)
    assert await journal.read(0, limit=1) == Trimmed(7)
    assert [record.sequence for record in await _read(journal, 6)] == [7, 8, 9, 10]
    await journal.trim(3)
    assert await journal.read(5, limit=1) == Trimmed(7), "trimming never goes back"


async def test_trimming_everything_keeps_the_place(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    for n in range(3):
        await _append(journal, purge(f"/{n}"))
    await journal.trim(1_000)
    assert await _read(journal, 3) == ()
    assert await journal.position() == Position(journal.epoch, 3)
    await journal.aclose()
    journal = await open_journal("journal")
    assert await journal.position() == Position(journal.epoch, 3)
    assert (await _append(journal, purge("/x"))).sequence == 4


async def test_the_history_survives_reopening(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    records = [await _append(journal, purge(f"/{n}")) for n in range(20)]
    epoch = journal.epoch
    await journal.aclose()
    again = await open_journal("journal")
    assert again.epoch == epoch
    assert await _read(again, 0) == tuple(records)
    assert await again.position() == records[-1].position


async def test_waiting_ends_with_the_next_record_and_not_before(journal: Journal) -> None:
    await _append(journal, purge("/1"))
    await journal.wait_beyond(0)
    waiting = [asyncio.create_task(journal.wait_beyond(sequence)) for sequence in (1, 2)]
    await _append(journal, purge("/2"))
    await waiting[0]
    assert not waiting[1].done()
    await _append(journal, purge("/3"))
    await waiting[1]


async def test_a_refused_append_wakes_nobody_for_good(journal: Journal) -> None:
    await _append(journal, purge("/1"))
    waiting = asyncio.create_task(journal.wait_beyond(1))
    assert isinstance(await journal.append(purge("/2"), expected_sequence=0), Conflicted)
    await asyncio.sleep(0)
    assert not waiting.done()
    await _append(journal, purge("/3"))
    await waiting


async def test_content_that_followers_could_not_read_is_refused_and_takes_no_place(journal: Journal) -> None:
    wrong = Draft("site/a", SiteCreated("s1", 7, {}), "admin")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="site/a"):
        await journal.append(wrong, expected_sequence=None)
    with pytest.raises(InvalidInput, match="schema"):
        await journal.append(Draft("site/a", SiteCreated("s1", "a", {"x": object()}), "admin"), expected_sequence=None)
    large = Draft("purge/s1", Purged("s1", (PurgeScope("url", "x" * MAX_RECORD_BYTES),), False), "admin")
    with pytest.raises(TooLarge, match=str(MAX_RECORD_BYTES)):
        await journal.append(large, expected_sequence=None)
    assert (await journal.position()).sequence == 0


async def test_a_closed_journal_says_so_and_wakes_who_waits(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    waiting = asyncio.create_task(journal.wait_beyond(0))
    await asyncio.sleep(0)
    await journal.aclose()
    with pytest.raises(JournalUnavailable):
        await waiting
    with pytest.raises(JournalUnavailable):
        await journal.append(purge("/"), expected_sequence=None)
    with pytest.raises(JournalUnavailable):
        await journal.read(0, limit=1)
    await journal.aclose()


async def test_closing_finishes_the_appends_that_wait(open_journal: OpenJournal) -> None:
    journal = await open_journal("journal")
    waiting = [asyncio.create_task(_append(journal, purge(f"/{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    await journal.aclose()
    assert [record.sequence for record in await asyncio.gather(*waiting)] == list(range(1, 11))


async def test_a_caller_who_gives_up_disturbs_no_other(journal: Journal) -> None:
    tasks = [asyncio.create_task(_append(journal, purge(f"/{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, Record) for outcome in outcomes) == 9
    sequences = [record.sequence for record in await _read(journal, 0)]
    assert sequences == list(range(1, len(sequences) + 1))


@dataclass
class _Model:
    """A journal as a plain list."""

    records: list[tuple[str, str]] = field(default_factory=list)
    trimmed_through: int = 0

    def last_of(self, subject: str) -> int:
        places = [n for n, (of, _) in enumerate(self.records, 1) if of == subject]
        return places[-1] if places else 0


@pytest.mark.parametrize("seed", range(12))
async def test_any_run_of_calls_agrees_with_a_plain_list(open_journal: OpenJournal, seed: int) -> None:
    chance = random.Random(seed)
    journal, model, values = await open_journal("journal"), _Model(), itertools.count()
    for _ in range(60):
        subject = f"subject/{chance.randrange(4)}"
        match chance.choice(["append", "append", "append", "compare", "compare", "read", "read", "trim", "reopen"]):
            case "append":
                value = f"/{next(values)}"
                await _append(journal, purge(value, subject=subject))
                model.records.append((subject, value))
            case "compare":
                value = f"/{next(values)}"
                expected = chance.choice([model.last_of(subject), chance.randrange(len(model.records) + 1)])
                outcome = await journal.append(purge(value, subject=subject), expected_sequence=expected)
                if expected == model.last_of(subject):
                    assert isinstance(outcome, Record)
                    model.records.append((subject, value))
                else:
                    assert outcome == Conflicted(model.last_of(subject))
            case "read":
                after, limit = chance.randrange(len(model.records) + 2), chance.randrange(1, 20)
                found = await journal.read(after, limit=limit)
                if after < model.trimmed_through:
                    assert found == Trimmed(model.trimmed_through + 1)
                else:
                    assert not isinstance(found, Trimmed)
                    assert [(each.sequence, each.subject) for each in found] == [
                        (n, of) for n, (of, _) in enumerate(model.records, 1) if n > after
                    ][:limit]
            case "trim":
                through = chance.randrange(len(model.records) + 3)
                await journal.trim(through)
                model.trimmed_through = max(model.trimmed_through, min(through, len(model.records)))
            case "reopen":
                await journal.aclose()
                journal = await open_journal("journal")
        assert (await journal.position()).sequence == len(model.records)
